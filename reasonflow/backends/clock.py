"""Time for the scripted engine: the wall's, or a virtual one that jumps to the next event."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Coroutine
from typing import Any, Protocol

# Loop rounds without a new sleeper before virtual time moves on. A task needs a few rounds from its start to its first
# sleep (task group, scheduler, retry); counting rounds instead of seconds keeps runs repeatable on a busy machine.
_QUIET_ROUNDS = 50


class Clock(Protocol):
    """Seconds, and waiting for them."""

    def now(self) -> float: ...

    def sleep(self, seconds: float) -> Coroutine[Any, Any, None]: ...


class WallClock:
    """Real time."""

    def now(self) -> float:
        return time.perf_counter()

    def sleep(self, seconds: float) -> Coroutine[Any, Any, None]:
        return asyncio.sleep(seconds)


class VirtualClock:
    """Time that passes only while everything on the loop waits, and then at once.

    Hours of simulated decoding take milliseconds. Sleepers wake in the order of their deadlines, equal ones in the
    order in which they went to sleep. One clock serves one event loop at a time.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Event]] = []
        self._arrivals = 0
        self._moving = False

    def now(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        awake = asyncio.Event()
        self._arrivals += 1
        entry = (self._now + max(0.0, seconds), self._arrivals, awake)
        heapq.heappush(self._sleepers, entry)
        if not self._moving:
            self._moving = True
            self._watch(asyncio.get_running_loop(), self._arrivals, _QUIET_ROUNDS)
        try:
            await awake.wait()
        except asyncio.CancelledError:
            if entry in self._sleepers:
                self._sleepers.remove(entry)
                heapq.heapify(self._sleepers)
            raise

    def _watch(self, loop: asyncio.AbstractEventLoop, seen: int, rounds: int) -> None:
        if not self._sleepers:
            self._moving = False
            return
        if seen != self._arrivals:
            seen, rounds = self._arrivals, _QUIET_ROUNDS
        elif rounds == 0:
            self._now = self._sleepers[0][0]
            while self._sleepers and self._sleepers[0][0] == self._now:
                heapq.heappop(self._sleepers)[2].set()
            rounds = _QUIET_ROUNDS
        loop.call_soon(self._watch, loop, seen, rounds - 1)
