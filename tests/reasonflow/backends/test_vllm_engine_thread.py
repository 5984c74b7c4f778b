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

    def abort(self, ids: Iterable[str]) -> Sequence[Update]:
        gone = list(ids)
        self.aborted += gone
        return [Update(id=id, text="", tokens=(), finished=True, whole=True) for id in gone if self.left.pop(id, None)]

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

    killable = False

    def kill(self) -> None:
        raise AssertionError("it cannot be killed")


class Hanging(Counting):
    """Hangs in its third step, until it is killed or let go."""

    def __init__(self, *, killable: bool) -> None:
        super().__init__()
        self.killable = killable
        self.hangs, self.freed = threading.Event(), threading.Event()
        self.killed = False

    def step(self) -> Sequence[Update]:
        updates = super().step()
        if self.steps == 3:
            self.hangs.set()
            self.freed.wait(20)
            if self.killed:
                raise RuntimeError("the core is gone")
        return updates

    def kill(self) -> None:
        self.killed = True
        self.freed.set()


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


def test_commands_that_keep_coming_do_not_keep_the_engine_from_its_steps() -> None:
    async def main() -> None:
        engine = Counting()
        thread = started(engine)
        steps_before: list[int] = []

        def again(_: object) -> None:
            steps_before.append(engine.steps)
            if len(steps_before) < 50:
                thread.call(again)

        heard = Heard(ends=1)
        thread.submit([sample("long", 100)], heard)
        thread.call(again)
        await asyncio.wait_for(heard.done.wait(), 5)
        assert len(steps_before) == 50
        assert steps_before[-1] - steps_before[0] >= 48
        await ended(thread)

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


def test_aborting_tells_how_far_the_samples_came_after_everything_else() -> None:
    async def main() -> None:
        engine = Counting()
        thread = started(engine)
        heard, left = Heard(ends=1), asyncio.get_running_loop().create_future()
        thread.submit([sample("short", 2), sample("endless", 10**9)], heard)
        await asyncio.wait_for(heard.done.wait(), 5)
        thread.abort(["short", "endless", "unknown"], left.set_result)
        assert [update.id for update in await asyncio.wait_for(left, 5)] == ["endless"]
        told = len(heard.updates)
        await asyncio.sleep(0.02)
        assert len(heard.updates) == told
        await ended(thread)
        nothing = asyncio.get_running_loop().create_future()
        thread.abort(["endless"], nothing.set_result)
        assert nothing.result() == ()

    asyncio.run(main())


def test_an_engine_that_breaks_on_a_new_sample_answers_that_too() -> None:
    class Brittle(Counting):
        def add(self, sample: Sample) -> None:
            raise RuntimeError("the socket is closed")

    async def main() -> None:
        thread = started(Brittle())
        heard = Heard(ends=1)
        thread.submit([sample("a")], heard)
        await asyncio.wait_for(heard.done.wait(), 5)
        assert "the socket is closed" in str(heard.errors[0])

    asyncio.run(main())


@pytest.mark.parametrize("killable", [True, False])
def test_an_engine_that_hangs_is_given_up(killable: bool) -> None:
    engine = Hanging(killable=killable)
    thread = EngineThread(lambda: engine, name="test", step_timeout_s=0.1)
    thread.start()

    async def main() -> EngineDead:
        heard = Heard(ends=1)
        await asyncio.wrap_future(thread.ready)
        thread.submit([sample("a", 100)], heard)
        await asyncio.to_thread(engine.hangs.wait, 5)
        left = asyncio.get_running_loop().create_future()
        thread.abort(["a"], left.set_result)  # who is cancelled does not wait for ever either
        await asyncio.wait_for(left, 5)
        await asyncio.wait_for(asyncio.wrap_future(thread.ended), 5)
        with pytest.raises(EngineDead, match="hangs") as caught:
            thread.submit([sample("c")], heard)
        return caught.value

    error = asyncio.run(main())
    assert engine.killed is killable is error.restartable
    assert thread.freed.done() is killable
    assert ("restart this Python process" in error.fix) is not killable
    engine.freed.set()  # a step that ends after all finds that it is no longer wanted
    thread.freed.result(5)
    assert engine.closed


def test_an_idle_engine_does_not_hang() -> None:
    engine = Counting()
    thread = EngineThread(lambda: engine, name="test", step_timeout_s=0.05)
    thread.start()
    thread.ready.result(5)
    time.sleep(0.3)
    assert thread.call(lambda engine: engine.busy).result(5) is False
    asyncio.run(ended(thread))


def test_memory_that_ran_out_is_named_with_what_to_change() -> None:
    async def main() -> None:
        class Full(Counting):
            def step(self) -> Sequence[Update]:
                raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")

        thread = started(Full())
        heard = Heard(ends=1)
        thread.submit([sample("a")], heard)
        await asyncio.wait_for(heard.done.wait(), 5)
        assert "memory ran out" in str(heard.errors[0])
        assert "max_num_seqs" in str(heard.errors[0])

    asyncio.run(main())
