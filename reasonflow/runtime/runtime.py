"""One runtime per engine: a thread with an event loop that every caller's work is handed to.

Notebooks, DSPy's evaluator threads and async agents all feed the same scheduler this way, and an engine only ever sees
one loop. This is the package's one background thread; it starts with the first piece of work.
"""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import itertools
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, TypeVar

import anyio

from reasonflow.backends.protocol import Backend, Completion, Observer, Request
from reasonflow.errors import BackendError, ProgramError
from reasonflow.runtime.scheduler import Scheduler, Ticket

T = TypeVar("T")
Work = Callable[[], Coroutine[Any, Any, T]]
"""Makes the coroutine on the runtime's own loop."""

_CLOSING_S = 30.0
"""How long a closing runtime waits for its engine before giving up on an orderly end."""


class _Job:
    """A coroutine on the runtime's loop, seen from another thread: a future that ends when the task really ended."""

    def __init__(self, loop: asyncio.AbstractEventLoop, work: Work[Any]) -> None:
        self.future: Future[Any] = Future()
        self.future.set_running_or_notify_cancel()  # so that nobody can mark it cancelled before the task is gone
        self._loop = loop
        self._work = work
        self._context = contextvars.copy_context()  # dspy.context(...) of the caller holds inside the run
        self._task: asyncio.Task[Any] | None = None
        self._cancelled = False
        loop.call_soon_threadsafe(self._start)

    def _start(self) -> None:
        if self._cancelled:
            self.future.set_exception(asyncio.CancelledError())
            return
        self._task = self._loop.create_task(self._work(), context=self._context)
        self._task.add_done_callback(self._finish)

    def _finish(self, task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            self.future.set_exception(asyncio.CancelledError())
        elif (error := task.exception()) is not None:
            self.future.set_exception(error)
        else:
            self.future.set_result(task.result())

    def cancel(self) -> None:
        """Ask the task to end; the future ends when it has."""

        def on_loop() -> None:
            self._cancelled = True
            if self._task is not None:
                self._task.cancel()

        self._loop.call_soon_threadsafe(on_loop)


class Runtime:
    """Runs coroutines beside one engine and admits their requests to it.

    Usable from any thread and from any asyncio loop. Not usable in a forked child: engines do not survive a fork.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.scheduler = Scheduler(backend.max_running)
        self._runs = itertools.count()
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()
        self._closed = False

    def next_run(self) -> int:
        """The order of a new program run: the scheduler finishes earlier ones first."""
        return next(self._runs)

    def run(self, work: Work[T]) -> T:
        """Run `work` on the runtime's loop and wait for it. Any interruption cancels it and waits for its end."""
        if threading.current_thread() is self._thread:
            raise ProgramError(
                "a program was called synchronously from inside a run",
                why="the caller sits on the runtime's own event loop, which would wait for itself",
                fix="await program.acall(...) there, or call it from an ordinary function through rf.call",
            )
        job: _Job = _Job(self._ready(), work)
        try:
            result: T = job.future.result()
        except asyncio.CancelledError:
            raise BackendError("the run was cancelled", why="its engine was closed while it ran") from None
        except BaseException:
            if not job.future.done():
                job.cancel()
                _wait_for_end(job.future)
            raise
        return result

    async def arun(self, work: Work[T]) -> T:
        """As `run`, from an asyncio loop; cancelling the caller cancels the work and waits for its end."""
        loop = self._ready()
        if asyncio.get_running_loop() is loop:
            return await work()
        job = _Job(loop, work)
        ended = asyncio.wrap_future(job.future)
        try:
            result: T = await asyncio.shield(ended)
        except asyncio.CancelledError:
            if not ended.done():
                job.cancel()
                with anyio.CancelScope(shield=True):  # anyio's scopes cancel again and again
                    await asyncio.wait([ended])
            if not ended.cancelled():
                ended.exception()  # seen: the caller's own cancellation is what leaves
            raise
        return result

    async def generate(
        self, request: Request, observe: Observer | None = None, ticket: Ticket | None = None
    ) -> tuple[Completion, ...]:
        """Send a request through the scheduler. On the runtime's loop only. Times count from here."""
        place = ticket or Ticket(run=self.next_run())
        waited = await self.scheduler.admit(place, request.n)
        try:
            completions = await self.backend.generate(request, observe)
        finally:
            self.scheduler.release(request.n)
        return tuple(_later(completion, waited) for completion in completions) if waited else completions

    def close(self) -> None:
        """Stop the engine, then the loop. Idempotent; runs that are still going are cancelled."""
        with self._lock:
            loop, thread, self._closed = self._loop, self._thread, True
            self._loop = self._thread = None
        if loop is None or thread is None or os.getpid() != self._pid:
            return

        async def stop() -> None:
            mine = asyncio.current_task()
            others = [task for task in asyncio.all_tasks() if task is not mine]
            for task in others:
                task.cancel()
            if others:
                await asyncio.wait(others)
            await self.backend.aclose()

        try:
            asyncio.run_coroutine_threadsafe(stop(), loop).result(_CLOSING_S)
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(_CLOSING_S)
            _OPEN.discard(self)

    def _ready(self) -> asyncio.AbstractEventLoop:
        if os.getpid() != self._pid:
            raise BackendError(
                "this engine belongs to the parent process",
                why="the process was forked after the engine was made, and engines do not survive a fork",
                fix="open the engine with rf.vllm(...) in the child, or start workers with the spawn method",
            )
        with self._lock:
            if self._closed:
                raise BackendError(
                    "this engine was closed", why="close() was called on it", fix="open it again with rf.vllm(...)"
                )
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=_serve, args=(self._loop,), name=f"reasonflow-{self.backend.model}", daemon=True
                )
                self._thread.start()
                _OPEN.add(self)
            return self._loop


def _later(completion: Completion, waited: float) -> Completion:
    """The completion with its times counted from before the scheduler's queue."""
    first = completion.first_token_s
    return replace(
        completion,
        queued_s=completion.queued_s + waited,
        first_token_s=None if first is None else first + waited,
        total_s=completion.total_s + waited,
    )


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def _wait_for_end(future: Future[Any]) -> None:
    """Wait until a cancelled job is gone. A second interruption leaves at once: the user insists."""
    try:
        future.exception()
    except asyncio.CancelledError:
        return


_OPEN: weakref.WeakSet[Runtime] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Engines end on their own loops, before the interpreter takes their modules apart."""
    for runtime in list(_OPEN):
        runtime.close()
