"""Samples of a gated call: each a request of its own, watched while it is written, and ended when the gate says so."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import anyio

from reasonflow.backends.protocol import Backend, Completion, Observer, Piece, Request
from reasonflow.errors import InputError, first_failure
from reasonflow.gates.confidence import PrefixScore
from reasonflow.gates.gate import is_threshold
from reasonflow.gates.scores import Unscored
from reasonflow.plan.nodes import Generate, Plan
from reasonflow.runtime.faults import single

Send: TypeAlias = Callable[[Request, Observer], Coroutine[Any, Any, Any]]


@dataclass(frozen=True, slots=True)
class Stopping:
    """When the samples of a call are ended."""

    score: PrefixScore
    below: float

    @property
    def settings(self) -> dict[str, Any]:
        """All it depends on, in JSON's types: a sample that others ended tells nothing of one that these end."""
        return {**self.score.settings, "below": self.below}

    async def send(self, request: Request, places: Sequence[int], send: Send, take: Observer, *, shown: bool) -> None:
        """Each sample by itself, side by side; returns when all have ended.

        places: numbers of the samples, as siblings of the request. take: told of each end under that number, of one
        that the gate has ended with the finish reason "gated", and where `shown` of the pieces too.
        """
        try:
            async with anyio.create_task_group() as group:
                for place in places:
                    alone = replace(single(request, place), stream=True)
                    group.start_soon(self._one, alone, place, send, take, shown)
        except BaseExceptionGroup as failures:
            raise first_failure(failures) from None

    async def _one(self, request: Request, place: int, send: Send, take: Observer, shown: bool) -> None:
        with anyio.CancelScope() as decoding:
            await send(request, _Watched(self, place, take, decoding, shown).see)


class _Watched:
    """One sample while it is written. What is begun again after a failure shows no more pieces, and runs to its end."""

    def __init__(self, rule: Stopping, place: int, take: Observer, decoding: anyio.CancelScope, shown: bool) -> None:
        self._rule, self._place, self._take, self._decoding, self._shown = rule, place, take, decoding, shown
        self._prefix = rule.score.begin()
        self._scored = True
        self._fallen = False

    def see(self, seen: Piece | tuple[int, Completion]) -> None:
        """Its observer."""
        if isinstance(seen, Piece):
            if self._shown:
                self._take(replace(seen, index=self._place))
            if not self._fallen and self._scored:
                self._watch(seen)
            return
        completion = seen[1]
        # Also one that ends by itself in this very moment: what ends a sample is not the speed of an engine's thread.
        self._take((self._place, replace(completion, finish_reason="gated") if self._fallen else completion))

    def _watch(self, piece: Piece) -> None:
        try:
            self._prefix.feed(piece.logprobs)
        except Unscored:
            self._scored = False  # what cannot be scored is not ended; as a whole it has no score either
            return
        lowest = self._prefix.lowest
        if lowest is not None and lowest < self._rule.below:
            self._fallen = True
            self._decoding.cancel()


def stopping_of(op: Generate, values: Sequence[Any]) -> Stopping | None:
    """What ends the samples of a call with these arguments; None where nothing does.

    Raises InputError for a threshold that the run has computed and that is none.
    """
    below = values[-1] if op.gated else None
    if below is None:
        return None
    if not is_threshold(below):
        raise InputError(
            f"stop_below={below!r:.60} of {op.site.name} is no threshold",
            fix="let what computes it return a finite number, or None where no sample is to be ended",
        )
    assert op.site.watch is not None, "only a call that watches is gated"
    return Stopping(op.site.watch, float(below))


def check_engines(plan: Plan, backends: Mapping[str, Backend]) -> None:
    """Raises InputError where the engine of a call site does not tell what the site watches. Starts nothing."""
    for node in plan.walk():
        if not isinstance(node.op, Generate) or node.op.site.watch is None:
            continue
        name, watch = node.op.site.name, node.op.site.watch
        able = backends[name].capabilities
        if able.top_logprobs < watch.logprobs:
            most = f"at most {able.top_logprobs} a token" if able.top_logprobs else "none"
            raise InputError(
                f"{name} cannot be watched on the engine of {backends[name].model!r}",
                why=f"{type(watch).__name__} takes {watch.logprobs} log-probabilities a token, and the engine "
                f"reports {most}",
                fix="use rf.vllm(...) or a server that reports them"
                + (f", or k={able.top_logprobs} at most" if able.top_logprobs else ""),
            )
        if node.op.gated and not able.streamed_logprobs:
            raise InputError(
                f"{name} cannot be stopped on the engine of {backends[name].model!r}",
                why="it does not report log-probabilities while a text is written",
                fix="use rf.vllm(...) or rf.openai(...), or leave out stop_below=",
            )
