"""What happens when an engine fails: transient failures are tried again, a dead engine is restarted once.

This is the only place that tries anything again. Samples that have ended are never asked for a second time.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio

from reasonflow.backends.protocol import Backend, Completion, Observer, Piece, Request
from reasonflow.errors import BackendError, EngineDead, EngineStartError, first_failure
from reasonflow.runtime.scheduler import Admission, priority

if TYPE_CHECKING:
    from reasonflow.runtime.runtime import Runtime

_LOG = logging.getLogger(__name__)

RETRIES = 4
"""Tries after the first. With the waits below an engine has four seconds on average, and eight at most, to recover:
longer than a burst of load lasts, and short beside a run."""
BACKOFF_S = 0.5
"""The longest first wait; each further one is twice as long. The wait itself is drawn from zero up ("full jitter"), so
that the many samples which failed together do not come back together."""

_RANDOM = secrets.SystemRandom()
"""Not the global generator: a retry must not change what a seeded user program draws."""


async def persist(
    attempt: Callable[[], Awaitable[None]],
    restart: Callable[[EngineDead], Awaitable[None]],
    retries: int = RETRIES,
    failed: BackendError | None = None,
) -> None:
    """Run `attempt` until it succeeds: again after a transient BackendError, and behind `restart` after EngineDead.

    failed: what the first attempt raised, where it has been made already. Raises what is not transient, the last of too
    many transient errors, and what `restart` raises.
    """
    tries = 0
    while True:
        try:
            if failed is not None:
                error, failed = failed, None
                raise error
            return await attempt()
        except EngineDead as error:
            await restart(error)
        except BackendError as error:
            if not error.transient or tries >= retries:
                raise
            await anyio.sleep(_RANDOM.uniform(0, BACKOFF_S * 2**tries))
            tries += 1


_NOBODY: frozenset[int] = frozenset()


class Delivery:
    """The samples wanted of one request, and which of them have ended, over however many attempts."""

    def __init__(self, request: Request, places: Sequence[int] | None, observe: Observer | None) -> None:
        self._request = request
        self._own_priority = request.priority
        self._places = range(request.n) if places is None else tuple(places)
        self._observe = observe
        self._ended: dict[int, Completion] = {}
        self._begun: dict[int, None] = {}
        """Samples that have shown pieces. A dict, and a range for the places: while they are plain the memory collector
        has nothing to look at."""
        self._shown: frozenset[int] = _NOBODY
        """Those that had in an attempt that failed: their pieces are not told again, their ends are."""
        self._waited_s = 0.0
        self._first = 0
        self._planned: tuple[int | None, int | None] = (None, None)
        """Tokens that the first sample of this attempt, and each further one, will find in the prefix cache."""
        self._told: tuple[Completion, int | None, Completion] | None = None
        """The last end, as it came and as it was told: siblings may share one object."""
        self._sample_ended: Callable[[Completion], None] | None = None
        self._failed = False
        self.asked: Backend | None = None
        """The engine of the last attempt."""

    @property
    def missing(self) -> Sequence[int]:
        """Places that have not ended."""
        return [place for place in self._places if place not in self._ended] if self._ended else self._places

    def completions(self) -> tuple[Completion, ...]:
        """In the order of the places."""
        return tuple(map(self._ended.__getitem__, self._places))

    def attempt(
        self, backend: Backend, admission: Admission, sample_ended: Callable[[Completion], None] | None = None
    ) -> Coroutine[Any, Any, None]:
        """Send what is missing: as one request if that is all of it, else as single samples with their own seeds.

        sample_ended: told of each, before the observer.
        """
        self._waited_s, self._failed, self.asked = admission.waited_s, False, backend
        self._sample_ended = sample_ended
        self._shown = frozenset(self._begun) if self._begun else _NOBODY
        missing, whole = self.missing, range(self._request.n)
        self._first, self._planned = missing[0], admission.planned
        if admission.rank is not None:
            self._request = replace(self._request, priority=priority(self._own_priority, admission.rank))
        if missing == whole or list(missing) == list(whole):
            return self._send(backend, self._request, missing, self._seen)
        return self._send_singly(backend, missing)

    async def _send_singly(self, backend: Backend, missing: Sequence[int]) -> None:
        try:
            async with anyio.create_task_group() as group:
                for place in missing:
                    alone = single(self._request, place)
                    group.start_soon(self._send, backend, alone, [place], partial(self._seen, first=place))
        except BaseExceptionGroup as failures:
            raise first_failure(failures) from None

    def cancelled(self) -> None:
        """Tell the ends of samples that were cancelled before an engine knew of them."""
        self._failed = False
        for place in self.missing:
            self._end(place, _NEVER_SENT)

    def _seen(self, seen: Piece | tuple[int, Completion], first: int = 0) -> None:
        """Of a request whose first sample has this place."""
        if isinstance(seen, Piece):
            self._piece(first + seen.index, seen)
        else:
            self._end(first + seen[0], seen[1])

    async def _send(self, backend: Backend, request: Request, places: Sequence[int], observe: Observer) -> None:
        try:
            completions = await backend.generate(request, observe)
        except Exception:
            self._failed = True  # siblings that are cancelled for it have not ended
            raise
        if len(self._ended) < len(self._places):
            for place, completion in zip(places, completions, strict=True):
                if place not in self._ended:
                    self._end(place, completion)

    def _piece(self, place: int, piece: Piece) -> None:
        self._begun[place] = None
        if self._observe is not None and place not in self._shown:
            self._observe(piece if piece.index == place else replace(piece, index=place))

    def _end(self, place: int, completion: Completion) -> None:
        if place in self._ended or (self._failed and completion.finish_reason == "cancelled"):
            return
        if self._sample_ended is not None:
            self._sample_ended(completion)
        told, planned = self._told, self._planned[place != self._first]
        if told is None or told[0] is not completion or told[1] != planned:
            told = self._told = (completion, planned, _later(completion, self._waited_s, planned))
        self._ended[place] = completion = told[2]
        if self._observe is not None:
            self._observe((place, completion))


_NEVER_SENT = Completion(text="", output_tokens=0, prompt_tokens=0, finish_reason="cancelled")


class Restart:
    """Replaces a dead engine, once in a runtime's life. One loop's object."""

    def __init__(self, rebuild: Callable[[], Backend] | None) -> None:
        """rebuild: makes an equal engine; None: there is no way to."""
        self.count = 0
        """Engines that took a dead one's place."""
        self.next: Backend | None = None
        """The engine that is being started."""
        self._rebuild = rebuild
        self._turn = anyio.Lock()

    async def replace(self, runtime: Runtime, dead: Backend, error: EngineDead) -> None:
        """Return when `runtime` has an engine in place of `dead`. Concurrent callers wait for the one restart.

        Raises EngineDead where there can be none: the engine was closed, or died a second time.
        """
        async with self._turn:
            if runtime.backend is not dead:
                return
            if self.next is None:
                if self._rebuild is None or not error.restartable:
                    raise error
                if self.count:
                    raise _second_death(error)
                _LOG.warning("the engine of %r stopped and is started again (%s)", dead.model, error.why or error.what)
                self.next = self._rebuild()
            await dead.aclose()
            try:
                await self.next.start()
            except EngineStartError as failure:
                raise _no_second_start(error, failure) from failure
            runtime.backend, self.next = self.next, None
            self.count += 1
            _LOG.warning("the engine of %r runs again", dead.model)


def single(request: Request, place: int) -> Request:
    """Sample `place` of the request as a request of its own."""
    seed = request.sampling.seed
    sampling = request.sampling if seed is None else replace(request.sampling, seed=seed + place)
    return replace(request, n=1, sampling=sampling)


def _later(completion: Completion, waited_s: float, planned_tokens: int | None) -> Completion:
    """The completion with its times counted from before the queue, and what was foreseen of it."""
    if not waited_s and planned_tokens is None:
        return completion
    first = completion.first_token_s
    return replace(
        completion,
        queued_s=completion.queued_s + waited_s,
        first_token_s=None if first is None else first + waited_s,
        total_s=completion.total_s + waited_s,
        planned_tokens=planned_tokens,
    )


def _second_death(error: EngineDead) -> EngineDead:
    dead = EngineDead(
        f"the engine died again after it had been restarted: {error.what}",
        why=error.why,
        fix=error.fix or "close it with lm.engine.close() and open it again; if that fails, run `reasonflow doctor`",
    )
    dead.restartable, dead.__cause__ = False, error
    return dead


def _no_second_start(error: EngineDead, failure: EngineStartError) -> EngineDead:
    dead = EngineDead(
        f"the engine died and cannot be started again: {error.what}",
        why=f"{error.why}; then {failure.what}: {failure.why}",
        fix=failure.fix,
    )
    dead.restartable = False
    return dead
