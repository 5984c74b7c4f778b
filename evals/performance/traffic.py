"""What an engine was asked and what it had to compute, sample by sample, whoever asked."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import dspy

from reasonflow.backends.protocol import Backend, Completion, Observer, Request, Tokens
from reasonflow.evals.performance.conditions import runtime_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One sample that ended by itself."""

    number: int
    """Of its request, in the order in which they reached the engine."""
    request: Request
    prompt: Tokens
    output: Tokens
    cached: int
    """Tokens of the prompt that were not computed again."""


@dataclass(slots=True)
class Traffic:
    """The samples of one trial."""

    samples: list[Served] = field(default_factory=list)

    @property
    def in_order(self) -> list[Served]:
        """As their requests reached the engine."""
        return sorted(self.samples, key=lambda served: served.number)

    @property
    def prompt_tokens(self) -> int:
        return sum(len(served.prompt) for served in self.samples)

    @property
    def computed(self) -> int:
        """Prompt tokens that the engine computed."""
        return self.prompt_tokens - sum(served.cached for served in self.samples)

    @property
    def hit(self) -> float:
        """Share of the prompt tokens that the engine reused."""
        return 1 - self.computed / self.prompt_tokens if self.samples else 0.0

    @property
    def output_tokens(self) -> int:
        return sum(len(served.output) for served in self.samples)


@contextmanager
def recorded(lm: dspy.LM) -> Iterator[Traffic]:
    """Everything that passes to the language model's engine inside, our runs' requests and all others."""
    runtime, traffic = runtime_of(lm), Traffic()
    backend = runtime.backend
    runtime.backend = cast("Backend", _Recording(backend, traffic))
    try:
        yield traffic
    finally:
        runtime.backend = backend


class _Recording:
    """A backend like the one behind it, that writes down what ended."""

    def __init__(self, backend: Backend, traffic: Traffic) -> None:
        self._backend = backend
        self._traffic = traffic
        self._numbers = itertools.count()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    async def generate(self, request: Request, observe: Observer | None = None) -> tuple[Completion, ...]:
        number = next(self._numbers)
        completions = await self._backend.generate(request, observe)
        self._traffic.samples += _served(number, request, completions)
        return completions


def _served(number: int, request: Request, completions: Sequence[Completion]) -> list[Served]:
    prompt = request.prompt.tokens
    assert prompt is not None, "an engine of ours takes token prompts"
    return [
        Served(number=number, request=request, prompt=prompt, output=end.tokens, cached=end.cached_tokens or 0)
        for end in completions
    ]
