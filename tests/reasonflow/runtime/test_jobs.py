"""Work on a runtime's loop as its callers see it: joined, interrupted, given up."""

from __future__ import annotations

import asyncio
import ctypes
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from reasonflow.backends.scripted import ScriptedBackend
from reasonflow.errors import BackendError
from reasonflow.runtime.jobs import Jobs, Work
from reasonflow.runtime.runtime import Runtime


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    runtime = Runtime(ScriptedBackend("x"))
    yield runtime
    runtime.close()


class Slow:
    """Work that says when it started and how it ended, and lasts until it is let go."""

    def __init__(self, result: Any = "done") -> None:
        self.result = result
        self.started = 0
        self.ends: list[str] = []
        self.begun = threading.Event()
        self.let_go = threading.Event()

    async def __call__(self) -> Any:
        self.started += 1
        self.begun.set()
        try:
            while not self.let_go.is_set():  # noqa: ASYNC110  # a thread lets it go
                await asyncio.sleep(0.005)
        except asyncio.CancelledError:
            await asyncio.sleep(0.02)
            self.ends.append("cancelled")
            raise
        self.ends.append("finished")
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def in_thread(function: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """A started thread and, after its end, what the function returned or raised."""
    outcome: list[Any] = []

    def target() -> None:
        try:
            outcome.append(function())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=target)
    thread.start()
    return thread, outcome


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def callers(runtime: Runtime, key: str) -> int:
    job = runtime._jobs._joinable.get(key)
    return job.callers if job is not None else 0


def interrupt(thread: threading.Thread, kind: type[BaseException]) -> None:
    assert ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(kind)) == 1


def test_equal_keys_share_one_piece_of_work_and_its_result(runtime: Runtime) -> None:
    work, other = Slow(result := ["shared"]), Slow()
    first, got = in_thread(lambda: runtime.run(work, key="k"))
    work.begun.wait(5)
    second, got_too = in_thread(lambda: runtime.run(other, key="k"))
    until(lambda: callers(runtime, "k") == 2)
    work.let_go.set()
    first.join(5)
    second.join(5)
    assert got[0] is got_too[0] is result
    assert (work.started, other.started) == (1, 0)


def test_a_task_joins_a_thread(runtime: Runtime) -> None:
    work = Slow("both")
    thread, got = in_thread(lambda: runtime.run(work, key=("a", 1)))
    work.begun.wait(5)

    async def main() -> Any:
        task = asyncio.create_task(runtime.arun(Slow("never"), key=("a", 1)))
        await asyncio.sleep(0.02)
        work.let_go.set()
        return await task

    assert asyncio.run(main()) == "both"
    thread.join(5)
    assert got == ["both"]


def test_an_error_is_shared_too_and_the_key_is_free_afterwards(runtime: Runtime) -> None:
    work = Slow(ValueError("broken"))
    threads = [in_thread(lambda: runtime.run(work, key="k")) for _ in range(2)]
    until(lambda: callers(runtime, "k") == 2)
    work.let_go.set()
    for thread, _ in threads:
        thread.join(5)
    assert [str(got[0]) for _, got in threads] == ["broken", "broken"]
    assert work.started == 1
    fresh = Slow("fresh")
    fresh.let_go.set()
    assert runtime.run(fresh, key="k") == "fresh"


def test_different_keys_and_no_key_join_nothing(runtime: Runtime) -> None:
    works = [Slow(), Slow(), Slow(), Slow()]
    threads = [
        in_thread(lambda work=work, key=key: runtime.run(work, key=key))
        for work, key in zip(works, ("a", "b", None, None), strict=True)
    ]
    until(lambda: all(work.started for work in works))
    for work in works:
        work.let_go.set()
    for thread, _ in threads:
        thread.join(5)
    assert [work.started for work in works] == [1, 1, 1, 1]


def test_work_goes_on_while_anybody_waits_for_it_and_ends_with_the_last(runtime: Runtime) -> None:
    async def main(work: Slow, cancel: int) -> list[Any]:
        tasks = [asyncio.create_task(runtime.arun(work, key="k")) for _ in range(2)]
        await asyncio.to_thread(until, lambda: callers(runtime, "k") == 2)
        for task in tasks[:cancel]:
            task.cancel()
        await asyncio.sleep(0.05)
        work.let_go.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    one, both = Slow("kept"), Slow("lost")
    kept = asyncio.run(main(one, 1))
    assert isinstance(kept[0], asyncio.CancelledError)
    assert kept[1] == "kept"
    assert one.ends == ["finished"]
    assert all(isinstance(end, asyncio.CancelledError) for end in asyncio.run(main(both, 2)))
    assert both.ends == ["cancelled"]


def test_nobody_joins_work_that_is_being_cancelled(runtime: Runtime) -> None:
    old, new = Slow("old"), Slow("new")

    async def main() -> Any:
        task = asyncio.create_task(runtime.arun(old, key="k"))
        await asyncio.to_thread(old.begun.wait, 5)
        task.cancel()
        await asyncio.sleep(0.005)  # it takes 20 ms to end
        new.let_go.set()
        result = await runtime.arun(new, key="k")
        await asyncio.wait([task])
        return result

    assert asyncio.run(main()) == "new"
    assert old.ends == ["cancelled"]


def test_work_inside_work_joins_nothing(runtime: Runtime) -> None:
    async def outer() -> Any:
        async def inner() -> str:
            return "inner"

        return await runtime.arun(inner, key="k")  # would wait for itself if it joined

    assert runtime.run(outer, key="k") == "inner"


def test_an_exception_from_another_thread_ends_the_wait_and_the_work(runtime: Runtime) -> None:
    class Stop(BaseException): ...

    work = Slow()
    thread, got = in_thread(lambda: runtime.run(work))
    work.begun.wait(5)
    interrupt(thread, Stop)
    thread.join(5)
    assert isinstance(got[0], Stop)
    assert work.ends == ["cancelled"]


def test_a_second_interrupt_leaves_at_once_and_closes_the_engine_behind(runtime: Runtime) -> None:
    stuck, ended = threading.Event(), threading.Event()

    async def stubborn() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            stuck.set()
            await asyncio.to_thread(ended.wait, 10)
            raise

    thread, got = in_thread(lambda: runtime.run(stubborn))
    time.sleep(0.05)
    interrupt(thread, KeyboardInterrupt)
    assert stuck.wait(5)
    assert thread.is_alive()  # it waits for the samples to leave
    interrupt(thread, KeyboardInterrupt)
    thread.join(2)
    assert not thread.is_alive()
    assert isinstance(got[0], KeyboardInterrupt)
    with pytest.raises(BackendError, match="closed"):
        until(lambda: runtime.run(idle) is None and False)
    ended.set()


async def idle() -> None:
    return


def test_a_works_own_timeout_is_its_result(runtime: Runtime) -> None:
    async def late() -> None:
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine"):
        runtime.run(late)


@pytest.mark.parametrize("awaited", [False, True])
def test_closing_the_engine_tells_those_who_wait(awaited: bool) -> None:
    runtime = Runtime(ScriptedBackend("x"))
    work = Slow()
    call: Work[Any] = lambda: runtime.arun(work)  # noqa: E731
    thread, got = in_thread(lambda: asyncio.run(call()) if awaited else runtime.run(work))
    work.begun.wait(5)
    runtime.close()
    thread.join(5)
    assert isinstance(got[0], BackendError)
    assert "closed while it ran" in got[0].why


def test_a_job_that_is_left_before_it_starts_ends_and_never_runs() -> None:
    ran: list[int] = []

    async def work() -> None:
        ran.append(1)

    loop = asyncio.new_event_loop()
    jobs = Jobs()
    job = jobs.join("key", loop, work)
    assert job.leave()
    job.start()
    loop.run_until_complete(asyncio.sleep(0.01))
    loop.close()
    assert isinstance(job.future.exception(), asyncio.CancelledError)
    assert ran == []
