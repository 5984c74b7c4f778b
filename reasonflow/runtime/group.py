"""Tasks side by side that end with the block they were started in: for branches of which there may be thousands.

As anyio's task group, but without a cancel scope, a handle and an event of each task: these took 9 microseconds and 15
objects a branch, and it is the objects alive at once that make Python's memory collector slow. What this one lacks is
that a task which swallows its cancellation is cancelled again: it is for model calls, not for a user's functions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import lru_cache
from inspect import CORO_CREATED, getcoroutinestate
from types import TracebackType
from typing import Any, Self

import anyio
from anyio.abc import TaskGroup

from reasonflow.plan.nodes import PURE, Each, Fork, Generate, Plan

_AGAIN_S = 0.01
"""How soon a task is looked at again that something else is just cancelling."""


def group_for(body: Plan) -> Group | TaskGroup:
    """The task group for branches of this body: ours where all that takes time in it are model calls."""
    return Group() if _only_calls(body) else anyio.create_task_group()


class Group:
    """Start work inside `async with`; the block ends when all of it has. One loop's object.

    Its verbs are those of anyio's that a fork needs, under their names, so that a fork can have either.
    """

    __slots__ = ("_cancelled", "_empty", "_failed", "_loop", "_tasks", "_unwanted")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._unwanted: set[asyncio.Task[None]] = set()
        """Those to be cancelled that are not yet."""
        self._cancelled = False
        self._failed: list[BaseException] = []
        self._empty: asyncio.Future[None] | None = None

    def start_soon(self, work: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
        """Run it beside the others. It handles its own errors: one that leaves it cancels the group and is raised."""
        task = self._loop.create_task(work(*args))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    @property
    def cancel_scope(self) -> Self:
        """What cancels it."""
        return self

    def cancel(self) -> None:
        """Cancel what still runs, each once: what is cleaning up is left in peace. One that has not begun begins."""
        if not self._cancelled:
            self._cancelled = True
            self._unwanted.update(self._tasks)
            self._cancel_unwanted()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        cancelled: asyncio.CancelledError | None = None
        if error is not None:
            self.cancel()
        while self._tasks:
            self._empty = self._loop.create_future()
            try:
                await self._empty
            except asyncio.CancelledError as interruption:
                cancelled = cancelled or interruption
                self.cancel()
        if self._failed:
            raise BaseExceptionGroup("branches failed", self._failed)
        if cancelled is not None and error is None:
            raise cancelled

    def _cancel_unwanted(self) -> None:
        for task in list(self._unwanted):
            coroutine: Any = task.get_coro()
            if task.done() or (not task.cancelling() and getcoroutinestate(coroutine) != CORO_CREATED):
                task.cancel()
                self._unwanted.discard(task)
        if self._unwanted:
            # Not begun: its first step stands in the loop's queue before this. Or a scope inside it is cancelling it,
            # and would take ours for its own.
            busy = any(task.cancelling() for task in self._unwanted)
            self._loop.call_later(_AGAIN_S if busy else 0, self._cancel_unwanted)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed.append(error)
            self.cancel()
        if not self._tasks and self._empty is not None and not self._empty.done():
            self._empty.set_result(None)


@lru_cache(maxsize=1024)
def _only_calls(plan: Plan) -> bool:
    return all(isinstance(node.op, (Generate, Fork, Each, *PURE)) for node in plan.walk())
