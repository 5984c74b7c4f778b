"""Engines fail: what is tried again, what is asked again, and what reaches the caller."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from reasonflow.backends.clock import VirtualClock
from reasonflow.backends.protocol import Backend, Completion, Piece, Prompt, Request, Sampling
from reasonflow.backends.scripted import ScriptedBackend
from reasonflow.errors import BackendError, EngineDead, EngineStartError, PromptTooLong
from reasonflow.runtime import faults
from reasonflow.runtime.runtime import Runtime
from reasonflow.runtime.scheduler import Ticket


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "BACKOFF_S", 0.001)


def request(n: int = 1, text: str = "hello", seed: int | None = 100, stream: bool = False) -> Request:
    prompt = Prompt(messages=({"role": "user", "content": text},))
    return Request(prompt=prompt, n=n, sampling=Sampling(seed=seed), stream=stream)


def busy() -> BackendError:
    error = BackendError("busy")
    error.transient = True
    return error


class Log:
    """A script that answers with seed and index, and fails as often as it is told to."""

    def __init__(self, failures: dict[int, list[Any]] | None = None) -> None:
        self.failures = failures or {}
        self.asked: list[int | None] = []

    def __call__(self, prompt: str, seed: int | None, index: int) -> Any:
        self.asked.append(seed)
        waiting = self.failures.get(-1 if seed is None else seed - 100)
        return waiting.pop(0) if waiting else f"sample {seed}"


def first_seed_first(request: Request, index: int) -> float:
    """Seconds: requests from seed 200 on are still running when those of seed 100 end."""
    return 0.01 if request.sampling.seed == 100 else 5.0


def texts(completions: tuple[Completion, ...]) -> list[str]:
    return [completion.text for completion in completions]


@pytest.fixture
def make() -> Iterator[Callable[..., Runtime]]:
    made: list[Runtime] = []

    def make(backend: Backend, rebuild: Callable[[], Backend] | None = None) -> Runtime:
        made.append(Runtime(backend, rebuild))
        return made[-1]

    yield make
    for runtime in made:
        runtime.close()


def test_places_are_single_samples_with_their_own_seeds_and_indices(make: Callable[..., Runtime]) -> None:
    log, seen = Log(), []
    runtime = make(ScriptedBackend(log))
    got = runtime.run(lambda: runtime.generate(request(8), seen.append, places=(5, 2)))
    assert texts(got) == ["sample 105", "sample 102"]
    assert sorted(index for index, _ in seen) == [2, 5]
    got = runtime.run(lambda: runtime.generate(request(8, seed=None), places=(1,)))
    assert texts(got) == ["sample None"]


def test_places_enter_the_scheduler_together(make: Callable[..., Runtime]) -> None:
    log = Log()
    runtime = make(ScriptedBackend(log, latency=0.02, max_running=2))

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(runtime.generate(request(2, seed=0), ticket=Ticket(run=0)))
            await asyncio.sleep(0)
            group.create_task(runtime.generate(request(9), ticket=Ticket(run=1), places=(3, 4)))
            group.create_task(runtime.generate(request(9), ticket=Ticket(run=1), places=(6, 7)))
            await asyncio.sleep(0.005)
            assert runtime.scheduler.waiting == 2

    runtime.run(main)
    assert log.asked == [0, 1, 103, 104, 106, 107]


def test_transient_failures_are_tried_again_for_what_is_missing(make: Callable[..., Runtime]) -> None:
    log, seen = Log({1: [busy(), busy()]}), []
    clock = VirtualClock()
    # Sample 1 fails after the others have ended.
    backend = ScriptedBackend(log, latency=lambda request, index: 5.0 if index == 1 else 1.0, clock=clock)
    runtime = make(backend)
    got = runtime.run(lambda: runtime.generate(request(3), seen.append))
    assert texts(got) == ["sample 100", "sample 101", "sample 102"]
    assert log.asked == [100, 101, 102, 101, 101]
    assert sorted(index for index, _ in seen) == [0, 1, 2]
    assert runtime.scheduler.running == 0


def test_siblings_that_were_running_when_one_failed_are_told_once(make: Callable[..., Runtime]) -> None:
    log, seen = Log({0: [busy()]}), []
    runtime = make(ScriptedBackend(log, latency=lambda request, index: 0.0 if index == 0 else 0.02))
    got = runtime.run(lambda: runtime.generate(request(3), seen.append))
    assert [completion.finish_reason for completion in got] == ["stop"] * 3
    assert len(seen) == 3


def test_what_stays_transient_is_raised_after_a_few_tries(make: Callable[..., Runtime]) -> None:
    log = Log({0: [busy()] * 99})
    runtime = make(ScriptedBackend(log))
    with pytest.raises(BackendError, match="busy"):
        runtime.run(lambda: runtime.generate(request()))
    assert len(log.asked) == faults.RETRIES + 1


@pytest.mark.parametrize("error", [BackendError("no"), PromptTooLong("long"), EngineStartError("never")])
def test_what_is_not_transient_is_raised_at_once(make: Callable[..., Runtime], error: BackendError) -> None:
    log = Log({0: [error]})
    runtime = make(ScriptedBackend(log), lambda: ScriptedBackend("other"))
    with pytest.raises(type(error)):
        runtime.run(lambda: runtime.generate(request()))
    assert log.asked == [100]


def test_a_dead_engine_is_restarted_once_for_everybody(
    make: Callable[..., Runtime], caplog: pytest.LogCaptureFixture
) -> None:
    log = Log({3: [EngineDead("the machine tripped", why="a cable")]})
    built: list[Backend] = []

    def rebuild() -> Backend:
        built.append(ScriptedBackend(log))
        return built[-1]

    clock = VirtualClock()
    first = ScriptedBackend(log, latency=lambda request, index: float(request.sampling.seed or 0) + index, clock=clock)
    runtime = make(first, rebuild)

    async def main() -> list[tuple[Completion, ...]]:
        # At the death (103 s) three samples of the first and none of the second request have ended.
        return await asyncio.gather(runtime.generate(request(6)), runtime.generate(request(2, seed=200)))

    with caplog.at_level(logging.WARNING):
        one, two = runtime.run(main)
    assert texts(one) == [f"sample {100 + i}" for i in range(6)]
    assert texts(two) == ["sample 200", "sample 201"]
    assert log.asked[:8] == [100, 101, 102, 103, 104, 105, 200, 201]
    assert sorted(log.asked[8:]) == [103, 104, 105, 200, 201]
    assert len(built) == runtime.restarts == 1
    assert runtime.backend is built[0]
    assert "started again" in caplog.text


def test_a_second_death_is_reported_with_its_reason(make: Callable[..., Runtime]) -> None:
    log = Log({0: [EngineDead("gone", why="power", fix="plug it in")] * 2})
    runtime = make(ScriptedBackend(log), lambda: ScriptedBackend(log))
    with pytest.raises(EngineDead, match="died again after it had been restarted: gone") as caught:
        runtime.run(lambda: runtime.generate(request()))
    assert (caught.value.why, caught.value.fix) == ("power", "plug it in")
    assert runtime.restarts == 1


def test_a_closed_engine_is_not_restarted(make: Callable[..., Runtime]) -> None:
    runtime = make(ScriptedBackend("x"), lambda: ScriptedBackend("never"))
    runtime.run(runtime.backend.aclose)
    with pytest.raises(EngineDead, match="closed"):
        runtime.run(lambda: runtime.generate(request()))
    assert runtime.restarts == 0


def test_an_engine_that_cannot_start_again_is_reported_to_everybody(make: Callable[..., Runtime]) -> None:
    class Broken(ScriptedBackend):
        async def start(self) -> None:
            await asyncio.sleep(0.001)
            raise EngineStartError("no memory", why="too little", fix="buy some")

    dead = Log({0: [EngineDead("gone", why="power")]})
    runtime = make(ScriptedBackend(dead, latency=first_seed_first), lambda: Broken("x"))

    async def main() -> list[Any]:
        calls = (runtime.generate(request(2)), runtime.generate(request(2, seed=200)))
        return await asyncio.gather(*calls, return_exceptions=True)

    for error in runtime.run(main):
        assert isinstance(error, EngineDead)
        assert "cannot be started again" in error.what
        assert "power" in error.why
        assert "too little" in error.why
        assert error.fix == "buy some"


def test_who_is_cancelled_during_a_restart_leaves_it_to_the_others(make: Callable[..., Runtime]) -> None:
    class Slow(ScriptedBackend):
        starts = 0

        async def start(self) -> None:
            Slow.starts += 1
            await asyncio.sleep(0.02)

    log = Log({0: [EngineDead("gone")]})
    built: list[Backend] = []

    def rebuild() -> Backend:
        built.append(Slow(log))
        return built[-1]

    runtime = make(ScriptedBackend(log, latency=first_seed_first), rebuild)

    async def main() -> Any:
        first = asyncio.create_task(runtime.generate(request(1)))
        second = asyncio.create_task(runtime.generate(request(1, seed=200)))
        while not Slow.starts:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        first.cancel()
        return await second

    assert texts(runtime.run(main)) == ["sample 200"]
    assert len(built) == 1


def test_a_cancelled_call_tells_every_sample_once_wherever_it_was(make: Callable[..., Runtime]) -> None:
    runtime = make(ScriptedBackend(["one two three four five six seven"], latency=1.0, max_running=2))
    running: list[Any] = []
    queued: list[Any] = []

    async def main() -> None:
        tasks = [
            asyncio.create_task(runtime.generate(request(3), running.append)),
            asyncio.create_task(runtime.generate(request(2), queued.append)),
        ]
        await asyncio.sleep(0.4)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    runtime.run(main)
    ends = dict(running)
    assert sorted(ends) == [0, 1, 2]
    assert {end.finish_reason for end in ends.values()} == {"cancelled"}
    assert ends[0].output_tokens == ends[1].output_tokens > 0
    assert (ends[2].output_tokens, ends[2].prompt_tokens) == (0, 0)
    assert [(index, end.output_tokens, end.finish_reason) for index, end in queued] == [
        (0, 0, "cancelled"),
        (1, 0, "cancelled"),
    ]
    assert runtime.scheduler.running == runtime.scheduler.waiting == 0


def test_a_call_that_is_cancelled_while_it_waits_to_try_again_tells_too(
    make: Callable[..., Runtime], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faults, "BACKOFF_S", 1e6)
    runtime, seen = make(ScriptedBackend(busy())), []

    async def main() -> None:
        task = asyncio.create_task(runtime.generate(request(2), seen.append))
        await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.wait([task])

    runtime.run(main)
    assert [(index, end.finish_reason) for index, end in seen] == [(0, "cancelled"), (1, "cancelled")]


def test_a_sample_that_begins_again_shows_no_further_pieces(make: Callable[..., Runtime]) -> None:
    class Trips(ScriptedBackend):
        async def generate(self, request: Request, observe: Any = None) -> tuple[Completion, ...]:
            observe(Piece(index=0, text="half "))
            raise busy()

    backend, seen = Trips("x"), []
    runtime = make(backend)

    async def main() -> None:
        task = asyncio.create_task(runtime.generate(replace(request(), stream=True), seen.append))
        await asyncio.sleep(0)
        runtime.backend = ScriptedBackend("half a loaf")
        await task

    runtime.run(main)
    assert [item.text for item in seen if isinstance(item, Piece)] == ["half "]
    assert [item[1].text for item in seen if isinstance(item, tuple)] == ["half a loaf"]


def test_times_count_from_the_call_also_after_a_failure(
    make: Callable[..., Runtime], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faults._RANDOM, "uniform", lambda low, high: 0.05)
    runtime = make(ScriptedBackend(Log({0: [busy()]})))
    (completion,) = runtime.run(lambda: runtime.generate(request()))
    assert completion.queued_s >= 0.05
    assert completion.total_s >= completion.queued_s
