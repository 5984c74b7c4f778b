"""One runtime per engine: a thread with an event loop that every caller's work is handed to.

Notebooks, DSPy's evaluator threads and async agents all feed the same scheduler this way, and an engine only ever sees
one loop. This is the package's one background thread; it starts with the first piece of work.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property, partial
from typing import TypeVar

import anyio

from reasonflow.backends import interpreter_exit
from reasonflow.backends.protocol import Backend, Completion, Observer, Request
from reasonflow.errors import BackendError, EngineDead, ProgramError
from reasonflow.runtime.faults import RETRIES, Delivery, Restart, persist
from reasonflow.runtime.jobs import Job, Jobs, Work
from reasonflow.runtime.scheduler import Scheduler, Ticket
from reasonflow.runtime.workload import Workload

T = TypeVar("T")

_CLOSING_S = 40.0
"""How long a closing runtime waits for its engine before giving up on an orderly end."""
_STEP_S = 5.0
"""How long of that it waits for its runs before the engine is closed beneath them."""
_LOG = logging.getLogger(__name__)


class Runtime:
    """Runs coroutines beside one engine and admits their requests to it.

    Usable from any thread and from any asyncio loop. Not usable in a forked child: engines do not survive a fork.
    """

    def __init__(self, backend: Backend, rebuild: Callable[[], Backend] | None = None) -> None:
        """rebuild: makes an equal backend, to take the place of one that dies. None: a death is final."""
        self.backend = backend
        """The engine of now: another one after a restart."""
        self.scheduler = Scheduler(backend.max_running)
        self._restart = Restart(rebuild)
        self._unstarted = rebuild or (lambda: backend)
        self._jobs = Jobs()
        self._runs = itertools.count()
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()
        self._closed = False

    @property
    def restarts(self) -> int:
        """How often a dead engine was replaced."""
        return self._restart.count

    @cached_property
    def identity(self) -> Mapping[str, str]:
        """The engine's fingerprint without what it learns of itself at its start: equal whenever it is read."""
        return dict(self._unstarted().fingerprint())

    def run_ended(self, work: Workload) -> None:
        """Nothing more of this run will come to this engine. From any thread or loop."""
        loop = self._loop
        if loop is None:
            return
        if threading.current_thread() is self._thread:
            self.scheduler.finish(work)
            return
        with suppress(RuntimeError):  # closed meanwhile, and its scheduler with it
            loop.call_soon_threadsafe(self.scheduler.finish, work)

    def next_run(self) -> int:
        """The order of a new program run: the scheduler finishes earlier ones first."""
        return next(self._runs)

    def run(self, work: Work[T], key: Hashable = None) -> T:
        """Run `work` on the runtime's loop and wait for it. Any interruption cancels it and waits for its end.

        key: a caller whose key equals that of work in flight joins it: it gets the same result or error, and its own
        `work` is not started. Shared work is cancelled when nobody waits for it any more. None joins nothing.
        A second Ctrl-C, while the interrupted work is ending, stops the engine and leaves at once.
        """
        if threading.current_thread() is self._thread:
            raise ProgramError(
                "a program was called synchronously from inside a run",
                why="the caller sits on the runtime's own event loop, which would wait for itself",
                fix="await program.acall(...) there, or call it from an ordinary function through rf.call",
            )
        job = self._jobs.join(key, self._ready(), work)
        try:
            job.start()
            result: T = job.wait()
        except asyncio.CancelledError:
            raise _cancelled() from None
        except BaseException:
            if not job.future.done():
                self._leave(job)
            raise
        return result

    async def arun(self, work: Work[T], key: Hashable = None) -> T:
        """As `run`, from an asyncio loop; cancelling the caller cancels the work and waits for its end.

        On the runtime's own loop it is the plain `await work()`: it joins nothing.
        """
        loop = self._ready()
        if asyncio.get_running_loop() is loop:
            return await work()
        job = self._jobs.join(key, loop, work)
        ended = asyncio.wrap_future(job.future)
        try:
            job.start()
            result: T = await asyncio.shield(ended)
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if ended.done() and caller is not None and not caller.cancelling():
                raise _cancelled() from None  # the work was cancelled, not who waited for it
            if not ended.done() and job.leave():
                with anyio.CancelScope(shield=True):  # anyio's scopes cancel again and again
                    await asyncio.wait([ended])
            raise
        finally:
            if ended.done() and not ended.cancelled():
                ended.exception()  # seen, also where the caller's own cancellation is what leaves
        return result

    async def generate(
        self,
        request: Request,
        observe: Observer | None = None,
        ticket: Ticket | None = None,
        places: Sequence[int] | None = None,
        *,
        retries: int = RETRIES,
    ) -> tuple[Completion, ...]:
        """Send a request through the scheduler. On the runtime's loop only. Times count from here.

        places: the samples wanted, by their index in the request; None: all. They are answered in this order, and the
        observer sees these indices. A transient failure is tried again and a dead engine restarted once: only for
        samples that have not ended. One that is begun again shows no further pieces; its end holds all of its text.
        A cancelled call tells the end of every sample, also of those that no engine ever saw. retries: of transient
        failures; none for a caller that retries by itself.
        """
        delivery = Delivery(request, places, observe)
        place, arrived = ticket or Ticket(run=self.next_run()), time.perf_counter()
        try:
            try:
                await self._attempt(delivery, request, place)
            except BackendError as error:
                await self._persist(delivery, request, place, arrived, retries, error)
        except anyio.get_cancelled_exc_class():
            delivery.cancelled()
            raise
        return delivery.completions()

    async def _attempt(self, delivery: Delivery, request: Request, place: Ticket, arrived: float | None = None) -> None:
        """arrived: of a request that has been tried before; all of its time until now counts as waiting."""
        self.scheduler.serve(self.backend)
        admission = await self.scheduler.admit(place, len(delivery.missing), request)
        if arrived is not None:
            admission.waited_s = time.perf_counter() - arrived
        try:
            await delivery.attempt(self.backend, admission, partial(self.scheduler.ended, admission))
        finally:
            self.scheduler.release(admission)

    async def _persist(
        self, delivery: Delivery, request: Request, place: Ticket, arrived: float, retries: int, error: BackendError
    ) -> None:
        """After a first attempt that failed."""

        async def again() -> None:
            await self._attempt(delivery, request, place, arrived)

        async def restart(dead: EngineDead) -> None:
            await self._restart.replace(self, delivery.asked or self.backend, dead)

        await persist(again, restart, retries, error)

    def _leave(self, job: Job) -> None:
        """Give a job up and wait until it is gone. A second interruption leaves at once; Ctrl-C stops the engine."""
        try:
            if job.leave():
                job.wait()
        except KeyboardInterrupt:
            threading.Thread(target=self._end, args=self._retire(), name="reasonflow-close", daemon=True).start()
            raise
        except BaseException:
            if not job.future.done():
                raise

    def close(self) -> None:
        """Stop the engine, then the loop. Idempotent; runs that are still going are cancelled."""
        self._end(*self._retire())

    def _retire(self) -> tuple[asyncio.AbstractEventLoop | None, threading.Thread | None]:
        """Take no more work. What is left to end: nothing if it was closed before."""
        if os.getpid() != self._pid:  # a forked child: all of it is the parent's, the lock too
            return None, None
        with self._lock:
            loop, thread, self._closed = self._loop, self._thread, True
            self._loop = self._thread = None
        return loop, thread

    def _end(self, loop: asyncio.AbstractEventLoop | None, thread: threading.Thread | None) -> None:
        if loop is None or thread is None:
            return
        try:
            asyncio.run_coroutine_threadsafe(self._stop(), loop).result(_CLOSING_S)
        except TimeoutError:
            _LOG.warning("the engine of %r did not end within %.0f s; it is left alone", self.backend.model, _CLOSING_S)
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(_CLOSING_S)
            _OPEN.discard(self)

    async def _stop(self) -> None:
        mine = asyncio.current_task()
        others = [task for task in asyncio.all_tasks() if task is not mine]
        for task in others:
            task.cancel()
        if others:
            # Samples leave between two steps of the engine. One that hangs answers only when it is closed.
            await asyncio.wait(others, timeout=_STEP_S)
        for backend in filter(None, (self._restart.next, self.backend)):
            await backend.aclose()
        if others:
            await asyncio.wait(others)

    def _ready(self) -> asyncio.AbstractEventLoop:
        if os.getpid() != self._pid:
            raise BackendError(
                "this engine belongs to the parent process",
                why="the process was forked after the engine was made, and engines do not survive a fork",
                fix="open the engine with rf.vllm(...) in the child, or start workers with the spawn method",
            )
        if self._jobs.silent and threading.current_thread() is not threading.main_thread():
            raise SystemExit  # the interpreter ends; a daemon thread that goes on asking ends without a word
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


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def _cancelled() -> BackendError:
    return BackendError("the run was cancelled", why="its engine was closed while it ran")


_OPEN: weakref.WeakSet[Runtime] = weakref.WeakSet()


def _close_all() -> None:
    """Engines end on their own loops, before the interpreter takes their modules apart."""
    for runtime in list(_OPEN):
        runtime._jobs.silent = True
        runtime.close()


interpreter_exit.runtimes_end(_close_all)
