"""Work on a runtime's loop, seen from other threads: who waits for it, and when it is no longer wanted."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine, Hashable
from concurrent.futures import Future
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T")
Work: TypeAlias = Callable[[], Coroutine[Any, Any, T]]
"""Makes the coroutine on the runtime's own loop."""

_POLL_S = 0.2
"""How often a waiting thread looks up. An exception that another thread raises in it arrives only then: Python delivers
none to a thread that sits in a lock."""


class Job:
    """A coroutine on the runtime's loop: its future ends when the task has really ended.

    Callers come with `Jobs.join` and go with `leave`; with the last one the task is cancelled.
    """

    def __init__(self, jobs: Jobs, key: Hashable, loop: asyncio.AbstractEventLoop, work: Work[Any]) -> None:
        self.future: Future[Any] = Future()
        self.future.set_running_or_notify_cancel()  # so that nobody can mark it cancelled before the task is gone
        self.key = key
        self.callers = 1
        self._jobs = jobs
        self._loop = loop
        self._work = work
        self._context = contextvars.copy_context()  # dspy.context(...) of the caller holds inside the run
        self._task: asyncio.Task[Any] | None = None

    def start(self) -> None:
        """Begin, if nobody has. A step of its own: an interruption before it leaves nothing running behind."""
        self._loop.call_soon_threadsafe(self._start)

    def wait(self) -> Any:
        """The result, or what the work raised; CancelledError if it was cancelled. Interruptible at any time."""
        while True:
            try:
                return self.future.result(_POLL_S)
            except TimeoutError:
                if self.future.done():
                    return self.future.result()  # the work's own TimeoutError, unless it ended in this very moment

    def leave(self) -> bool:
        """A caller waits no longer. True if it was the last: the work is cancelled, and `future` ends with it."""
        last = self._jobs.leave(self)
        if last:
            self._loop.call_soon_threadsafe(self._cancel)
        return last

    def _start(self) -> None:
        if self._task is not None or self.future.done():
            return
        self._task = self._loop.create_task(self._work(), context=self._context)
        self._task.add_done_callback(self._finish)

    def _finish(self, task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            self._end(asyncio.CancelledError())
        elif (error := task.exception()) is not None:
            self._end(error)
        else:
            self._jobs.forget(self)
            self.future.set_result(task.result())

    def _end(self, error: BaseException) -> None:
        self._jobs.forget(self)
        if self._jobs.silent:
            return
        self.future.set_exception(error)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
        elif not self.future.done():
            self._end(asyncio.CancelledError())


class Jobs:
    """The jobs in flight that others may join, by key. Usable from any thread."""

    def __init__(self) -> None:
        self.silent = False
        """The interpreter ends: threads that still wait for a job end with it, rather than with a traceback."""
        self._joinable: dict[Hashable, Job] = {}
        self._lock = threading.Lock()

    def join(self, key: Hashable, loop: asyncio.AbstractEventLoop, work: Work[Any]) -> Job:
        """The job in flight under an equal key, or a new one: `start` it, `leave` it to give up. None joins nothing."""
        if key is None:
            return Job(self, None, loop, work)
        with self._lock:
            job = self._joinable.get(key)
            if job is not None:
                job.callers += 1
                return job
            job = self._joinable[key] = Job(self, key, loop, work)
            return job

    def leave(self, job: Job) -> bool:
        """One caller less. True for the last one; nobody can join the job any more then."""
        with self._lock:
            job.callers -= 1
            if job.callers:
                return False
            self._drop(job)
            return True

    def forget(self, job: Job) -> None:
        """The job has ended."""
        if job.key is not None:
            with self._lock:
                self._drop(job)

    def _drop(self, job: Job) -> None:
        if self._joinable.get(job.key) is job:
            del self._joinable[job.key]
