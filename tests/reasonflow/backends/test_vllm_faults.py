"""The real engine in a process of its own: what happens when that is killed, or hangs."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from reasonflow.backends.protocol import Completion, Prompt, Request, Sampling
from reasonflow.backends.vllm import VllmBackend
from reasonflow.errors import EngineDead, EngineStartError
from reasonflow.runtime.runtime import Runtime

pytestmark = [
    pytest.mark.engine,
    # vLLM leaves the ZeroMQ context of an engine in a process of its own to the garbage collector.
    pytest.mark.filterwarnings("ignore:[Uu]nclosed context:ResourceWarning"),
]

OPTIONS: dict[str, Any] = {"in_process": False, "max_model_len": 4096, "kv_cache_gib": 0.25}


@pytest.fixture
def runtimes() -> Iterator[list[Runtime]]:
    made: list[Runtime] = []
    yield made
    for runtime in made:
        runtime.close()


def core_pid(runtime: Runtime) -> int:
    backend: Any = runtime.backend
    return int(backend._thread._engine._core._processes[0].pid)


def request(runtime: Runtime, tokens: int, n: int) -> Request:
    tokenizer = runtime.backend.tokenizer
    assert tokenizer is not None
    prompt = tokenizer.render([{"role": "system", "content": "Help."}, {"role": "user", "content": "Hi."}])
    sampling = Sampling(max_tokens=tokens, ignore_eos=True, seed=1)
    return Request(prompt=Prompt(tokens=prompt), sampling=sampling, n=n)


@pytest.mark.long
def test_a_killed_engine_is_restarted_once_and_asked_only_for_what_had_not_ended(runtimes: list[Runtime]) -> None:
    def build() -> VllmBackend:
        return VllmBackend("embedded", **OPTIONS)

    runtime = Runtime(build(), build)
    runtimes.append(runtime)
    runtime.run(runtime.backend.start)
    first, pid, ends = runtime.backend, core_pid(runtime), list[Any]()

    async def main() -> tuple[tuple[Completion, ...], ...]:
        async with asyncio.TaskGroup() as group:
            short = group.create_task(runtime.generate(request(runtime, 4, 2)))
            long = group.create_task(runtime.generate(request(runtime, 600, 3), ends.append))
            await short
            os.kill(pid, signal.SIGKILL)
        return short.result(), long.result()

    short, long = runtime.run(main)
    assert [sample.output_tokens for sample in (*short, *long)] == [4, 4, 600, 600, 600]
    assert sorted(index for index, _ in ends) == [0, 1, 2]
    assert (runtime.restarts, runtime.backend is first) == (1, False)
    counters = runtime.run(runtime.backend.counters)
    assert counters.output_tokens == 3 * 600
    assert (counters.running, counters.waiting) == (0, 0)

    os.kill(core_pid(runtime), signal.SIGKILL)
    with pytest.raises(EngineDead, match="died again") as caught:
        runtime.run(lambda: runtime.generate(request(runtime, 50, 1)))
    assert "signal 9" in caught.value.why
    assert "kv_cache_gib" in caught.value.fix


@pytest.mark.long
def test_an_engine_that_hangs_is_killed_and_restarted(runtimes: list[Runtime]) -> None:
    def build() -> VllmBackend:
        return VllmBackend("embedded", step_timeout_s=3.0, **OPTIONS)

    runtime = Runtime(build(), build)
    runtimes.append(runtime)
    runtime.run(runtime.backend.start)
    pid = core_pid(runtime)

    async def main() -> tuple[Completion, ...]:
        task = asyncio.create_task(runtime.generate(request(runtime, 2000, 2)))
        await asyncio.sleep(0.5)
        os.kill(pid, signal.SIGSTOP)
        return await task

    assert [sample.output_tokens for sample in runtime.run(main)] == [2000, 2000]
    assert runtime.restarts == 1
    assert not os.path.exists(f"/proc/{pid}/mem") or _is_zombie(pid)

    os.kill(core_pid(runtime), signal.SIGSTOP)
    with pytest.raises(EngineDead, match="hangs") as caught:
        runtime.run(lambda: runtime.generate(request(runtime, 50, 1)))
    assert "step_timeout_s" in caught.value.fix


@pytest.mark.long
def test_closing_an_engine_that_hangs_takes_seconds(runtimes: list[Runtime]) -> None:
    runtime = Runtime(VllmBackend("embedded", **OPTIONS))
    runtimes.append(runtime)
    runtime.run(runtime.backend.start)
    os.kill(core_pid(runtime), signal.SIGSTOP)
    began = time.monotonic()
    runtime.close()
    assert time.monotonic() - began < 35


def _is_zombie(pid: int) -> bool:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rsplit(")", 1)[1].split()[0] == "Z"


@pytest.mark.long
def test_what_vllm_imported_is_not_collected_while_its_engine_runs(runtimes: list[Runtime]) -> None:
    runtime = Runtime(VllmBackend("embedded", **OPTIONS))
    runtimes.append(runtime)
    gc.unfreeze()
    runtime.run(runtime.backend.start)
    assert gc.get_freeze_count() > 100_000
    runtime.close()
    assert gc.get_freeze_count() == 0


@pytest.mark.long
def test_a_cache_too_small_for_the_window_fails_at_the_start_and_says_what_to_change() -> None:
    backend = VllmBackend("embedded", kv_cache_gib=0.005)
    with pytest.raises(EngineStartError) as caught:
        asyncio.run(backend.start())
    assert "KV cache is needed" in caught.value.why
    assert "larger kv_cache_gib" in caught.value.fix
    assert "smaller max_model_len" in caught.value.fix
