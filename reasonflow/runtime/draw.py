"""The samples of one request while they are drawn: each end is read, recorded and counted the moment it comes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from typing import Any

from reasonflow.backends.protocol import Completion, Piece, Prompt, Sampling
from reasonflow.errors import BranchGated
from reasonflow.plan.nodes import Site
from reasonflow.runtime.events import BranchStarted, Token
from reasonflow.runtime.ledger import Amount
from reasonflow.runtime.price import Price
from reasonflow.runtime.reading import opened, read
from reasonflow.runtime.record import Run, label
from reasonflow.runtime.runtime import Runtime
from reasonflow.runtime.sending import counted
from reasonflow.runtime.values import Hole


def _nothing() -> None:
    """Nobody can end the request."""


@dataclass(slots=True, kw_only=True)
class Draw:
    """One request. `take` is its observer."""

    run: Run
    node: str
    site: Site
    prompt: Prompt
    runtime: Runtime
    indices: Callable[[int], tuple[int, ...]]
    """Of a sample, by its number in the group."""
    samples: tuple[int, ...]
    """Numbers of those that are drawn."""
    only: int | None
    """The number in the group of a request's only sample; None where the engine's numbers are the group's."""
    limit: int | None
    """Output tokens each may write at most."""
    last: bool
    """What cannot be read is not asked for again."""
    decide: Callable[[int, Any], bool]
    """Told of every record that is final; says whether the rest can still matter."""
    come: Callable[[int, Any, int, Completion], None] | None
    """Told of every record that is final, with the number of its span and its completion."""
    keep: Callable[[int, Completion], None] | None
    """Records a finished sample for a later session."""
    replayed: bool = False
    enough: Callable[[], None] = _nothing
    """Ends the request: the rest does not matter any more."""
    ended: dict[int, tuple[Any, int, Completion]] = field(default_factory=dict)
    """Of every sample that ended by itself: its record or hole, the number of its span, its completion."""
    gated: dict[int, tuple[Hole, int, Completion]] = field(default_factory=dict)
    """The same of every one that its gate has ended: spent, and nothing to show."""
    cancelled: list[Completion] = field(default_factory=list)
    decided: bool = False
    started_s: float = 0.0
    opened: bool | None = None
    """Whether the prompt ends inside a thought; None until somebody asks."""

    def __post_init__(self) -> None:
        self.started_s = self.run.clock()
        if self.run.watched and not self.replayed:
            size = len(self.prompt.tokens) if self.prompt.tokens is not None else None
            for sample in self.samples:
                self.run.tell(BranchStarted, self.node, self.indices(sample), input_tokens=size)

    def take(self, seen: Piece | tuple[int, Completion]) -> None:
        """A piece, or the end of a sample."""
        if isinstance(seen, Piece):
            self.run.tell(Token, self.node, self.indices(self._number(seen.index)), text=seen.text)
            return
        index, completion = seen
        sample = self._number(index)
        if completion.finish_reason == "cancelled":
            self.cancelled.append(completion)
            self.run.add(
                self.node, self.indices(sample), self.started_s, completion, "cancelled", max_tokens=self.limit
            )
            return
        if self.keep is not None:
            self.keep(sample, completion)
        if completion.finish_reason == "gated":
            self._gate(sample, completion)
            return
        self._finish(sample, completion)

    def _number(self, index: int) -> int:
        return index if self.only is None else self.only

    @property
    def ran_out(self) -> bool:
        """Whether a sample wrote all it was allowed to and had more to say."""
        return any(completion.finish_reason == "length" for _, _, completion in self.ended.values())

    def spent(self, price: Price) -> Amount:
        """What the samples took, the cancelled ones as far as they had come."""
        backend = self.runtime.backend
        ended_early = [*self.cancelled, *(completion for _, _, completion in self.gated.values())]
        cancelled = [counted(each, backend, self.prompt, self.limit) for each in ended_early]
        all_of_them = [*(completion for _, _, completion in self.ended.values()), *cancelled]
        return Amount(
            total=sum(c.prompt_tokens + c.output_tokens for c in all_of_them),
            calls=len(all_of_them),
            dollars=sum(price.of(c.prompt_tokens, c.output_tokens) for c in all_of_them),
        )

    def _finish(self, sample: int, completion: Completion) -> None:
        record: Any
        if self.opened is None:
            self.opened = opened(self.prompt, self.runtime)
        self.run.cache.see(self.runtime.scheduler.footprints)
        record, repairs, failure = read(self.site, completion, self.runtime, self.prompt, opened=self.opened)
        indices = self.indices(sample)
        span = self.run.add(
            self.node,
            indices,
            self.started_s,
            completion,
            "failed" if failure else "done",
            repairs,
            max_tokens=self.limit,
            replayed=self.replayed,
        )
        if record is None:
            assert failure is not None, "a text without a record has an error"
            record = Hole(label(self.node, indices), failure)
        self.ended[sample] = (record, span, completion)
        if self.last or not isinstance(record, Hole):
            self._tell(sample, record, span, completion)

    def _gate(self, sample: int, completion: Completion) -> None:
        indices = self.indices(sample)
        span = self.run.add(
            self.node,
            indices,
            self.started_s,
            completion,
            "cancelled",
            max_tokens=self.limit,
            replayed=self.replayed,
        )
        where = label(self.node, indices)
        said = f"ended by its gate after {completion.output_tokens} tokens"
        self.run.notes.append(f"{where}: {said}")
        record = Hole(where, BranchGated(f"{where} was {said}"))
        self.gated[sample] = (record, span, completion)
        self._tell(sample, record, span, completion)

    def _tell(self, sample: int, record: Any, span: int, completion: Completion) -> None:
        """The record is final."""
        if self.come is not None:
            self.come(sample, record, span, completion)
        if self.decide(sample, record) and not self.decided:
            self.decided = True
            if len(self.ended) + len(self.gated) + len(self.cancelled) < len(self.samples):
                self.enough()


def journal_key(
    program: str,
    path: str,
    sample: int,
    attempt: int,
    prompt: Prompt,
    sampling: Sampling,
    stopping: Mapping[str, Any] | None = None,
) -> str:
    """The key of one sample of one call: where it stands, and a digest of all it depends on.

    stopping: the settings of what may end it while it is written.
    """
    asked = prompt.tokens if prompt.tokens is not None else [dict(message) for message in prompt.messages]
    found = [asked, asdict(sampling)] if stopping is None else [asked, asdict(sampling), dict(stopping)]
    content = json.dumps(found, sort_keys=True, default=str)
    return f"{program}/{path}/{sample}/{attempt}/{blake2b(content.encode(), digest_size=16).hexdigest()}"
