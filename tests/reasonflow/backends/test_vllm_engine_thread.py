"""The engine's thread, over an engine made of counters."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterable, Sequence

import pytest

from reasonflow.backends.vllm_engine_thread import EngineThread, Sample, Update
from reasonflow.errors import BackendError, EngineDead, InputError, ReasonFlowError


class Counting:
    """Gives each sample one token a step until it has as many as its `params` say."""

    def __init__(self) -> None:
        self.left: dict[str, int] = {}
        self.order: list[str] = []
        self.aborted: list[str] = []
        self.threads: set[int] = set()
        self.closed = False
        self.fail_at: int | None = None
        self.steps = 0

    @property
    def busy(self) -> bool:
        return bool(self.left)

    def add(self, sample: Sample) -> None:
        self.threads.add(threading.get_ident())
        if sample.params is None:
            raise InputError("refused")
        self.left[sample.id] = sample.params
        self.order.append(sample.id)

    def abort(self, ids: Iterable[str]) -> None:
        for id in ids:
            self.aborted.append(id)
            self.left.pop(id, None)

    def step(self) -> Sequence[Update]:
        self.threads.add(threading.get_ident())
        self.steps += 1
        if self.steps == self.fail_at:
            raise RuntimeError("CUDA error: something\nan illegal memory access")
        time.sleep(0.001)
        updates = []
        for id in list(self.left):
            self.left[id] -= 1
            updates.append(Update(id=id, text="x", tokens=(1,), finished=self.left[id] == 0))
            if not self.left[id]:
                del self.left[id]
        return updates

    def close(self) -> None:
        self.closed = True


def sample(id: str, tokens: int | None = 3) -> Sample:
    return Sample(id=id, tokens=(1, 2), params=tokens, priority=0, arrived=0.0)


class Heard:
    """What was delivered, and when it is complete."""

    def __init__(self, ends: int) -> None:
        self.updates: list[Update] = []
        self.errors: list[ReasonFlowError] = []
        self.calls = 0
        self._ends = ends
        self.begun = asyncio.Event()
        self.done = asyncio.Event()

    def __call__(self, news: Sequence[Update] | ReasonFlowError) -> None:
        self.calls += 1
        self.begun.set()
        if isinstance(news, ReasonFlowError):
            self.errors.append(news)
            self.done.set()
            return
        self.updates.extend(news)
        if sum(update.finished for update in self.updates) == self._ends:
            self.done.set()


def started(engine: Counting) -> EngineThread:
    thread = EngineThread(lambda: engine, name="test")
    thread.start()
    thread.ready.result(5)
    return thread


async def ended(thread: EngineThread) -> None:
    thread.close()
    await asyncio.wrap_future(thread.ended)


def test_samples_enter_adjacent_and_a_step_is_delivered_in_one_call() -> None:
    async def main() -> None:
        engine = Counting()
        thread = started(engine)
        heard = Heard(ends=4)
        thread.submit([sample(f"a{i}") for i in range(4)], heard)
        await asyncio.wait_for(heard.done.wait(), 5)
        assert engine.order == ["a0", "a1", "a2", "a3"]
        assert heard.calls == engine.steps == 3
        assert engine.threads == {thread._thread.ident}
        await ended(thread)
        assert engine.closed

    asyncio.run(main())


def test_several_loops_share_one_engine() -> None:
    engine = Counting()
    thread = started(engine)
    totals: list[int] = []

    async def ask(name: str) -> None:
        heard = Heard(ends=2)
        thread.submit([sample(f"{name}0", 20), sample(f"{name}1", 20)], heard)
        await asyncio.wait_for(heard.done.wait(), 5)
        totals.append(len(heard.updates))

    callers = [threading.Thread(target=lambda name=name: asyncio.run(ask(name))) for name in "abc"]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(10)
    assert totals == [40, 40, 40]
    asyncio.run(ended(thread))


def test_aborted_samples_leave_and_the_others_go_on() -> None:
    async def main() -> None:
        engine = Counting()
        thread = started(engine)
        heard = Heard(ends=1)
        thread.submit([sample("short", 50), sample("endless", 10**9)], heard)
        await asyncio.wait_for(heard.begun.wait(), 5)
        thread.abort(["endless", "unknown"])
        await asyncio.wait_for(heard.done.wait(), 5)
        assert engine.aborted == ["endless"]
        assert not engine.busy
        await ended(thread)

    asyncio.run(main())


def test_a_refused_sample_takes_its_siblings_with_it_and_nobody_else() -> None:
    async def main() -> None:
        engine = Counting()
        thread = started(engine)
        refused, served = Heard(ends=2), Heard(ends=1)
        thread.submit([sample("good", 10**9), sample("bad", None)], refused)
        thread.submit([sample("other")], served)
        await asyncio.wait_for(refused.done.wait(), 5)
        await asyncio.wait_for(served.done.wait(), 5)
        assert engine.aborted == ["good"]
        assert str(refused.errors[0]) == "refused"
        await ended(thread)

    asyncio.run(main())


def test_a_crash_answers_everyone_who_waits_and_everyone_after() -> None:
    async def main() -> None:
        engine = Counting()
        engine.fail_at = 3
        thread = started(engine)
        first, second = Heard(ends=1), Heard(ends=1)
        thread.submit([sample("a", 100), sample("b", 100)], first)
        thread.submit([sample("c", 100)], second)
        await asyncio.wait_for(first.done.wait(), 5)
        await asyncio.wait_for(second.done.wait(), 5)
        for error in (*first.errors, *second.errors):
            assert isinstance(error, EngineDead)
            assert "RuntimeError: an illegal memory access" in str(error)
            assert "reasonflow doctor" in error.fix
        with pytest.raises(EngineDead):
            thread.submit([sample("d")], first)
        with pytest.raises(EngineDead):
            thread.call(lambda engine: engine.busy)
        await asyncio.wrap_future(thread.ended)
        assert engine.closed
        assert len(first.errors) == len(second.errors) == 1

    asyncio.run(main())


def test_closing_answers_those_who_wait_and_is_idempotent() -> None:
    async def main() -> None:
        engine = Counting()
        thread = started(engine)
        heard = Heard(ends=1)
        thread.submit([sample("a", 10**9)], heard)
        await asyncio.wait_for(heard.begun.wait(), 5)
        await ended(thread)
        await ended(thread)
        await asyncio.wait_for(heard.done.wait(), 5)
        assert "closed" in str(heard.errors[0])
        assert engine.closed

    asyncio.run(main())


def test_an_engine_that_was_never_started_closes_at_once_and_stays_closed() -> None:
    thread = EngineThread(Counting, name="test")
    thread.close()
    assert thread.ended.result(1) is None
    with pytest.raises(EngineDead, match="closed"):
        thread.start()


def test_a_failed_start_is_told_to_everyone() -> None:
    def broken() -> Counting:
        raise BackendError("no memory")

    thread = EngineThread(broken, name="test")
    thread.start()
    thread.start()
    for _ in range(2):
        with pytest.raises(BackendError, match="no memory"):
            thread.ready.result(5)
    assert thread.ended.result(5) is None


def test_a_loop_that_is_gone_harms_nobody() -> None:
    engine = Counting()
    thread = started(engine)

    async def leave() -> None:
        thread.submit([sample("orphan", 20)], Heard(ends=1))

    asyncio.run(leave())

    async def stay() -> None:
        heard = Heard(ends=1)
        thread.submit([sample("b", 30)], heard)
        await asyncio.wait_for(heard.done.wait(), 5)
        await ended(thread)

    asyncio.run(stay())


def test_calls_run_between_steps_and_their_errors_come_back() -> None:
    engine = Counting()
    thread = started(engine)
    assert thread.call(lambda given: given is engine).result(5)
    with pytest.raises(ZeroDivisionError):
        thread.call(lambda given: 1 // 0).result(5)
    asyncio.run(ended(thread))


def test_a_failure_while_freeing_the_engine_is_said_and_ends_the_thread(caplog: pytest.LogCaptureFixture) -> None:
    class Stuck(Counting):
        def close(self) -> None:
            raise RuntimeError("the device is gone")

    thread = EngineThread(Stuck, name="stuck")
    thread.start()
    thread.ready.result(5)
    thread.close()
    thread.ended.result(5)
    assert "freeing the engine failed" in caplog.text
    assert "the device is gone" in caplog.text
