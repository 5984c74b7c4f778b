"""One request on its way through the scripted engine, and its samples while they are written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import anyio

from reasonflow.backends.protocol import Completion, Observer, Request, TokenLogprobs, Tokens
from reasonflow.backends.scripted_samples import Sample

NOTHING = Completion(text="", output_tokens=0, prompt_tokens=0, cached_tokens=0, finish_reason="cancelled")
"""A sample that was cancelled before it was scheduled."""

Times: TypeAlias = tuple[float, float | None, float]
"""Of one sample, from its request's arrival: seconds queued, to its first token, to its last."""


@dataclass(slots=True, eq=False)
class Call:
    """One request."""

    request: Request
    prompt: Tokens
    chat: str
    """The prompt's text, for the script."""
    room: int
    """Tokens the window leaves."""
    arrived_s: float
    observe: Observer | None
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    """Of its samples: cancelled when the engine dies."""
    done: dict[int, Completion] = field(default_factory=dict)
    cut: dict[int, Completion] = field(default_factory=dict)
    """How far the samples came that were stopped."""
    failed: bool = False
    """One sample failed: its siblings are stopped and not told."""

    @property
    def pieces(self) -> Observer | None:
        return self.observe if self.request.stream else None

    @property
    def steps(self) -> int:
        """Of the engine: as many as its longest sample has tokens."""
        ends = (*self.done.values(), *self.cut.values())
        return max([end.output_tokens for end in ends], default=0)

    def times(self, started_s: float, ended_s: float, first_token_s: float | None) -> Times:
        """first_token_s: after its start; None where it came to none."""
        queued_s = started_s - self.arrived_s
        return queued_s, None if first_token_s is None else queued_s + first_token_s, ended_s - self.arrived_s


@dataclass(slots=True, eq=False)
class Decoding:
    """One sample that has a slot."""

    index: int
    scripted: object
    sample: Sample | None = None
    """None for one that will fail."""
    cached: int = 0
    logprobs: tuple[TokenLogprobs, ...] = ()

    @property
    def visible(self) -> Tokens:
        """Its tokens but for those that its text does not show."""
        if self.sample is None:
            return ()
        tokens = self.sample.tokens
        return tokens[: len(tokens) - self.sample.unseen] if self.sample.finish_reason == "stop" else tokens

    def beside(self, index: int) -> Decoding:
        """A sibling with the same text that begins in the same moment."""
        return Decoding(index, self.scripted, self.sample, self.cached, self.logprobs)

    def equals(self, other: Decoding) -> bool:
        """Whether both end alike: siblings of one text share one completion."""
        return self.sample is other.sample and self.cached == other.cached and self.logprobs is other.logprobs
