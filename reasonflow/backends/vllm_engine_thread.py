"""One thread that owns an engine: it builds it, feeds it, steps it and tears it down.

vLLM's synchronous engine must be touched by one thread only, and its step blocks. Everything the event loops want is a
command in an inbox; everything the engine says goes back to them in one call per step and loop. Measured on two cores
against vLLM's own asynchronous front end: half the start-up and half again the throughput.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import os
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from reasonflow.backends import interpreter_exit
from reasonflow.backends.deaths import closed, crashed, hung
from reasonflow.backends.protocol import FinishReason, TokenLogprobs, Tokens
from reasonflow.backends.watchdog import Watchdog
from reasonflow.errors import EngineDead, ReasonFlowError

T = TypeVar("T")
_LOG = logging.getLogger(__name__)

_EXIT_WAIT_S = 30.0
"""How long the interpreter's end waits for an engine that is still starting or stepping."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One sample on its way into the engine."""

    id: str
    tokens: Tokens
    params: Any
    """The engine's own sampling parameters."""
    priority: int
    arrived: float
    """`time.time()` of the request's arrival."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """What one step brought for one sample. The counts are those known at its end."""

    id: str
    text: str
    tokens: Tokens
    """Generated since the last update of this sample."""
    finished: bool = False
    finish_reason: FinishReason = "stop"
    stopped: str | None = None
    """The stop string that ended it."""
    error: str = ""
    """Why the engine gave up on this sample; empty where it did not."""
    whole: bool = False
    """`text` and `tokens` are all of the sample's: so is told how far a cancelled one came."""
    prompt_computed: bool = True
    """False for a sample that was cancelled before its first step."""
    cached_tokens: int = 0
    queued_s: float = 0.0
    first_token_s: float | None = None
    total_s: float = 0.0
    logprobs: tuple[TokenLogprobs, ...] = ()
    """Of `tokens`, where they were asked for; none of a cancelled sample's."""
    prompt_logprobs: tuple[float, ...] = ()


Deliver = Callable[["Sequence[Update] | ReasonFlowError"], None]
"""Called on the loop that submitted: the updates of a step, or the error that ended all its samples."""


class SteppedEngine(Protocol):
    """An engine that works only while it is stepped. Built, used and closed by one thread."""

    @property
    def busy(self) -> bool:
        """Whether it holds samples that are not finished."""
        ...

    def add(self, sample: Sample) -> None:
        """Queue a sample. Raises InputError if the engine refuses it."""
        ...

    def abort(self, ids: Iterable[str]) -> Sequence[Update]:
        """Drop samples and tell how far each had come, finished as "cancelled". Unknown ones are ignored."""
        ...

    def step(self) -> Sequence[Update]:
        """Advance every running sample."""
        ...

    def close(self) -> None:
        """Free what it holds."""
        ...

    @property
    def killable(self) -> bool:
        """Whether it works in processes of its own, so that `kill` can end a step that hangs."""
        ...

    def kill(self) -> None:
        """End those processes at once: a step under way then fails. From any thread."""
        ...


@dataclass(frozen=True, slots=True)
class _Waiting:
    """Where the updates of one sample go."""

    loop: asyncio.AbstractEventLoop
    deliver: Deliver


class EngineThread:
    """Runs one engine. Its methods may be called from any thread; the engine starts with `start`.

    `EngineDead` answers everything that comes after the engine failed or was closed.
    """

    def __init__(self, build: Callable[[], SteppedEngine], name: str, step_timeout_s: float = math.inf) -> None:
        """step_timeout_s: an engine that stays in one step for longer hangs and is given up."""
        self.ready: Future[None] = Future()
        """Done when the engine takes requests; holds the error if it cannot."""
        self.ended: Future[None] = Future()
        """Done when nothing more is to be waited for: the engine was freed, or given up."""
        self.freed: Future[None] = Future()
        """Done when the thread has freed the engine; of one that hangs in this process never."""
        self._build = build
        self._step_timeout_s = step_timeout_s
        self._engine: SteppedEngine | None = None
        self._entered_s: float | None = None
        """When the thread last went into the engine; None while it waits for work."""
        self._pid = os.getpid()
        self._inbox: queue.SimpleQueue[Callable[[SteppedEngine], None]] = queue.SimpleQueue()
        self._waiting: dict[str, _Waiting] = {}  # touched by the engine's thread, and by who gives it up
        self._lock = threading.Lock()
        self._settling = threading.Lock()
        self._started = False
        self._closing = False
        self._dead: EngineDead | None = None
        # A daemon, because the interpreter joins all others before it runs the exit hook below.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin building the engine; `ready` tells the end of it. Idempotent."""
        with self._lock:
            if self._started:
                return
            if self._dead is not None:
                raise self._dead.anew()
            self._started = True
        self._thread.start()

    def submit(self, samples: Sequence[Sample], deliver: Deliver) -> None:
        """Send samples, adjacent to each other. Their updates reach `deliver` on the running event loop."""
        waiting = _Waiting(asyncio.get_running_loop(), deliver)

        def add(engine: SteppedEngine) -> None:
            # Known before they are in: an engine that breaks on one of them owes them an answer too.
            self._waiting.update({sample.id: waiting for sample in samples})
            added = 0
            try:
                for sample in samples:
                    engine.add(sample)
                    added += 1
            except ReasonFlowError as error:
                for sample in samples[added:]:
                    del self._waiting[sample.id]
                self._forget(engine, [sample.id for sample in samples[:added]])
                _post(waiting.loop, waiting.deliver, error)

        self._put(add)

    def abort(self, ids: Sequence[str], left: Callable[[Sequence[Update]], None] | None = None) -> None:
        """Take samples out of the engine. Nothing is delivered for them afterwards but what is already on its way.

        left: called on the running event loop after all that, with how far those came that had not ended; with nothing
        if the engine is dead.
        """
        loop = asyncio.get_running_loop()

        def leave(engine: SteppedEngine) -> None:
            news = self._forget(engine, ids)
            if left is not None:
                _post(loop, left, news)

        try:
            self._put(leave)
        except EngineDead:
            if left is not None:
                left(())

    def call(self, function: Callable[[SteppedEngine], T]) -> Future[T]:
        """Run `function` on the engine's thread, between two steps."""
        future: Future[T] = Future()

        def command(engine: SteppedEngine) -> None:
            try:
                future.set_result(function(engine))
            except Exception as error:
                future.set_exception(error)

        self._put(command)
        return future

    def close(self) -> None:
        """Ask the thread to free the engine; `ended` tells when it has. Idempotent, never blocks."""
        with self._lock:
            self._closing = True
            if not self._started:
                self._dead = self._dead or closed()
                self._settle(self.ended)
                self._settle(self.freed)
        self._inbox.put(lambda engine: None)  # wakes a thread that waits for work

    def give_up(self, error: EngineDead) -> None:
        """Wait no longer for a thread that does not come back: `error` answers everybody, now and later.

        The engine's own processes are killed. An engine in this process goes on as long as its step does.
        """
        engine = self._engine
        self._die(error)
        if engine is not None and engine.killable:
            engine.kill()
        else:
            _LOG.warning("an engine does not answer, and its thread cannot be stopped")
            self._settle(self.ready, error.anew())
            self._settle(self.ended)

    def _put(self, command: Callable[[SteppedEngine], None]) -> None:
        with self._lock:
            if self._dead is not None:
                raise self._dead.anew()
            if self._closing:
                raise closed()
            self._inbox.put(command)

    def _forget(self, engine: SteppedEngine, ids: Iterable[str]) -> Sequence[Update]:
        known = [id for id in ids if self._waiting.pop(id, None)]
        return engine.abort(known) if known else ()

    def _run(self) -> None:
        """The thread: build, serve until closed or broken, free."""
        interpreter_exit.engine_ends(self._end_with_interpreter)
        try:
            engine = self._engine = self._build()
        except BaseException as error:
            self._die(EngineDead("the engine did not start", why=str(error), fix="see the error of its start"))
            self._end()
            self._settle(self.ready, error)
            return
        interpreter_exit.engine_ends(self._end_with_interpreter)  # once more: libraries were imported meanwhile
        self._settle(self.ready)
        watchdog = Watchdog(self._step_timeout_s, self._silent_s, self._hangs, f"{self._thread.name}-watchdog")
        failure: BaseException | None = None
        try:
            self._serve(engine)
        except BaseException as error:
            failure = error
        watchdog.stop()
        # Dead first: whoever comes while the engine is being freed is answered at once.
        self._die(closed() if failure is None else crashed(failure))
        try:
            engine.close()
        except Exception:
            # Its samples are answered already and nobody waits for more: said, but no reason to fail.
            _LOG.warning("freeing the engine failed", exc_info=True)
        finally:
            self._engine = None
            del engine
            self._end()

    def _end(self) -> None:
        interpreter_exit.forget(self._end_with_interpreter)
        self._settle(self.freed)
        self._settle(self.ended)

    def _end_with_interpreter(self) -> None:
        """Frees the engine before the interpreter takes its modules apart."""
        if os.getpid() != self._pid:  # a forked child: the engine is its parent's
            return
        self.close()
        if not self.ended.done() or self.freed.done():
            self._thread.join(_EXIT_WAIT_S)
        if not self.ended.done():
            self.give_up(closed())

    def _silent_s(self) -> float:
        entered_s = self._entered_s
        return 0.0 if entered_s is None else time.monotonic() - entered_s

    def _hangs(self, silent_s: float) -> None:
        engine = self._engine
        if engine is not None:
            self.give_up(hung(silent_s, in_process=not engine.killable))

    def _serve(self, engine: SteppedEngine) -> None:
        while not self._closing and self._dead is None:
            if not engine.busy:
                self._entered_s = None
                command = self._inbox.get()
                self._entered_s = time.monotonic()
                command(engine)
            # No more than are here by now: who sends many calls would keep the engine from its steps until the last.
            for command in itertools.islice(self._commands(), self._inbox.qsize()):
                command(engine)
            if engine.busy and not self._closing:
                self._entered_s = time.monotonic()
                self._deliver(engine.step())

    def _commands(self) -> Iterator[Callable[[SteppedEngine], None]]:
        """What is in the inbox."""
        while True:
            try:
                command = self._inbox.get_nowait()
            except queue.Empty:
                return
            yield command

    def _deliver(self, updates: Sequence[Update]) -> None:
        """One call per loop and step, however many samples it feeds."""
        batches: dict[asyncio.AbstractEventLoop, dict[Deliver, list[Update]]] = defaultdict(lambda: defaultdict(list))
        for update in updates:
            waiting = self._waiting.pop(update.id, None) if update.finished else self._waiting.get(update.id)
            if waiting is not None:
                batches[waiting.loop][waiting.deliver].append(update)
        for loop, batch in batches.items():
            _post(loop, _deliver_all, batch)

    def _die(self, error: EngineDead) -> None:
        """Answer everybody. The first reason stands."""
        with self._lock:
            error = self._dead = self._dead or error
        gone = _Gone(error)
        for command in self._commands():
            command(gone)
        receivers = {(waiting.loop, waiting.deliver) for waiting in list(self._waiting.values())}
        self._waiting.clear()
        for loop, deliver in receivers:
            _post(loop, deliver, error.anew())

    def _settle(self, future: Future[None], error: BaseException | None = None) -> None:
        """End a future, unless it has ended: the engine's thread and who gives it up may both come to it."""
        with self._settling:
            if future.done():
                return
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)


class _Gone:
    """Stands in for the engine while the commands that came too late are answered."""

    busy = False

    def __init__(self, error: EngineDead) -> None:
        self._error = error

    def add(self, sample: Sample) -> None:
        raise self._error.anew()

    def abort(self, ids: Iterable[str]) -> Sequence[Update]:
        return ()

    def step(self) -> Sequence[Update]:
        raise self._error.anew()

    def close(self) -> None:
        return

    killable = False

    def kill(self) -> None:
        return


def _post(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *arguments: object) -> None:
    try:
        loop.call_soon_threadsafe(function, *arguments)
    except RuntimeError:  # the loop was closed, and with it everybody who could have listened
        return


def _deliver_all(batch: dict[Deliver, list[Update]]) -> None:
    for deliver, updates in batch.items():
        deliver(updates)
