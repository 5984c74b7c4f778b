"""Samples that wait together end as those with a task each: a latency that is a function keeps them apart."""

import asyncio
from typing import Any

import pytest

from reasonflow.backends.clock import VirtualClock
from reasonflow.backends.protocol import Completion, Counters, Prompt, Request, Sampling
from reasonflow.backends.scripted import ScriptedBackend
from reasonflow.errors import BackendError, EngineDead

LATENCY_S = 2.0
SCRIPTS: dict[str, Any] = {
    "one text": "a text of several tokens",
    "several texts": ["a text of several tokens", "short", "a text of several tokens", "and one more"],
    "a function": lambda prompt, seed, index: f"{prompt} {seed} {index % 2}",
}
Seen = list[tuple[int, Completion]]


def request(n: int) -> Request:
    content = "a prompt that fills more than one block of the prefix cache, which has sixteen tokens a block: this one"
    return Request(prompt=Prompt(messages=({"role": "user", "content": content},)), n=n, sampling=Sampling(seed=7))


def drawn(
    script: Any, *, together: bool, n: int = 6, cancel_s: float | None = None, kv_blocks: int | None = None
) -> tuple[Seen, Counters]:
    """What two requests beside each other show, and the engine's totals after them."""
    clock = VirtualClock()
    latency: Any = LATENCY_S if together else (lambda request, index: LATENCY_S)
    backend = ScriptedBackend(script, latency=latency, clock=clock, kv_blocks=kv_blocks)
    seen: Seen = []

    def observe(end: Any) -> None:
        seen.append(end)

    async def main() -> Counters:
        calls = [asyncio.create_task(backend.generate(request(count), observe)) for count in (n, 2)]
        if cancel_s is not None:
            await clock.sleep(cancel_s)
            for call in calls:
                call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        assert backend.running() == 0
        return await backend.counters()

    return seen, asyncio.run(main())


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
@pytest.mark.parametrize("cancel_s", [None, 0.5, 1.9])
@pytest.mark.parametrize("kv_blocks", [None, 4])
def test_they_end_as_they_would_one_by_one(script: Any, cancel_s: float | None, kv_blocks: int | None) -> None:
    apart = drawn(script, together=False, cancel_s=cancel_s, kv_blocks=kv_blocks)
    assert drawn(script, together=True, cancel_s=cancel_s, kv_blocks=kv_blocks) == apart
    assert len(apart[0]) == 8


@pytest.mark.parametrize("fault", [ValueError("broken"), EngineDead("gone")])
def test_a_failure_shows_the_same_ends(fault: Any) -> None:
    script = lambda prompt, seed, index: fault if index == 3 else "fine"  # noqa: E731
    assert drawn(script, together=True) == drawn(script, together=False)


def test_siblings_of_one_text_share_one_completion() -> None:
    ends = asyncio.run(ScriptedBackend("yes", latency=0.001).generate(request(5)))
    assert ends[1] is ends[2] is ends[4]


def test_the_death_of_the_engine_ends_who_waits_for_a_slot() -> None:
    backend = ScriptedBackend(
        lambda prompt, seed, index: EngineDead("gone") if seed == 0 else "fine", latency=0.01, max_running=1
    )

    async def main() -> list[Any]:
        asked = (Request(prompt=request(1).prompt, sampling=Sampling(seed=seed)) for seed in range(3))
        return await asyncio.gather(*map(backend.generate, asked), return_exceptions=True)

    assert all(isinstance(each, BackendError) for each in asyncio.run(main()))
