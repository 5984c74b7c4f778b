import asyncio
from dataclasses import replace
from typing import Any

import anyio
import pytest

from reasonflow.backends.clock import VirtualClock
from reasonflow.backends.protocol import Completion, Piece, Prompt, Request, Sampling
from reasonflow.backends.scripted import ScriptedBackend
from reasonflow.errors import BackendError, EngineDead, InputError, PromptTooLong


def request(text: str = "hello", *, n: int = 1, **sampling: Any) -> Request:
    return Request(prompt=Prompt(messages=({"role": "user", "content": text},)), n=n, sampling=Sampling(**sampling))


def ask(backend: ScriptedBackend, *requests: Request) -> list[str]:
    async def main() -> list[str]:
        return [c.text for r in requests for c in await backend.generate(r)]

    return asyncio.run(main())


def test_a_text_answers_every_sample() -> None:
    assert ask(ScriptedBackend("yes"), request(n=3), request()) == ["yes"] * 4


def test_a_list_answers_in_order_of_arrival_over_and_over() -> None:
    assert ask(ScriptedBackend(["a", "b", "c"]), request(n=2), request(n=2)) == ["a", "b", "c", "a"]


def test_a_function_sees_the_chat_its_own_seed_and_its_place() -> None:
    backend = ScriptedBackend(lambda prompt, seed, index: f"{prompt} {seed} {index}")
    assert ask(backend, request("q", n=2, seed=40), request("q")) == ["q 40 0", "q 41 1", "q None 0"]


def test_a_prompt_of_tokens_alone_is_read_as_text() -> None:
    backend = ScriptedBackend(lambda prompt, seed, index: prompt.upper())
    assert ask(backend, Request(prompt=Prompt(tokens=backend.tokenizer.encode("go on")))) == ["GO ON"]


@pytest.mark.parametrize("fault", [ValueError("broken"), ValueError])
def test_an_exception_leaves_as_a_backend_error(fault: Any) -> None:
    backend = ScriptedBackend([fault, "fine"])
    with pytest.raises(BackendError, match="ValueError") as caught:
        ask(backend, request())
    assert isinstance(caught.value.__cause__, ValueError)
    assert ask(backend, request()) == ["fine"]
    assert backend.running() == 0


def test_our_own_errors_pass_as_they_are() -> None:
    with pytest.raises(EngineDead):
        ask(ScriptedBackend(EngineDead("gone")), request())


@pytest.mark.parametrize("answer", [[], 3, None])
def test_a_script_that_is_none_is_refused(answer: Any) -> None:
    with pytest.raises(InputError):
        ScriptedBackend(answer)


def test_a_function_that_returns_nothing_is_told_so() -> None:
    answer: Any = lambda prompt, seed, index: None  # noqa: E731
    with pytest.raises(InputError, match="NoneType"):
        ask(ScriptedBackend(answer), request())


def test_max_tokens_cuts_and_says_length() -> None:
    async def main() -> Completion:
        return (await ScriptedBackend("one two three four").generate(request(max_tokens=2)))[0]

    completion = asyncio.run(main())
    assert (completion.text, completion.output_tokens, completion.finish_reason) == ("one two", 2, "length")


def test_a_stop_string_ends_the_text_before_it() -> None:
    assert ask(ScriptedBackend("a, b; c"), request(stop=(";", ","))) == ["a"]


def test_a_prompt_that_leaves_no_room_is_refused() -> None:
    backend = ScriptedBackend("x", window=8)
    with pytest.raises(PromptTooLong, match="window is 8"):
        ask(backend, request("far too many words for this window"))
    assert asyncio.run(backend.counters()).prompt_tokens == 0


def test_siblings_share_their_prompts_full_blocks_from_a_cold_start() -> None:
    async def main(backend: ScriptedBackend) -> list[tuple[int | None, int]]:
        completions = await backend.generate(request("word " * 100, n=3))
        return [(c.cached_tokens, c.prompt_tokens) for c in completions]

    for answer in ("fixed", ["a", "b"]):
        backend = ScriptedBackend(answer, block_size=16)
        (first, prompt), *siblings = asyncio.run(main(backend))
        assert first == 0
        assert siblings == [((prompt - 1) // 16 * 16, prompt)] * 2
        counters = asyncio.run(backend.counters())
        assert counters.cached_tokens == sum(cached or 0 for cached, _ in siblings)
        assert counters.prompt_tokens == 3 * prompt


def test_more_prefixes_than_blocks_means_no_reuse() -> None:
    async def main(kv_blocks: int) -> int:
        backend = ScriptedBackend("x", block_size=4, kv_blocks=kv_blocks)
        for _ in range(3):
            for name in "abcd":
                await backend.generate(request(f"{name} " * 40))
        return (await backend.counters()).cached_tokens

    assert asyncio.run(main(kv_blocks=200)) > 0
    assert asyncio.run(main(kv_blocks=20)) == 0


def test_a_continuation_finds_the_generated_tokens_cached() -> None:
    async def main() -> int | None:
        backend = ScriptedBackend("a fairly long generated text " * 5, block_size=4)
        prompt = backend.tokenizer.encode("some prompt of a few tokens")
        (first,) = await backend.generate(Request(prompt=Prompt(tokens=prompt)))
        (second,) = await backend.generate(Request(prompt=Prompt(tokens=(*prompt, *first.tokens, 999))))
        assert second.cached_tokens is not None
        return second.cached_tokens - len(prompt)

    assert (asyncio.run(main()) or 0) > 20


def test_latency_passes_in_virtual_time_and_the_engine_has_so_many_slots() -> None:
    clock = VirtualClock()
    backend = ScriptedBackend(["x"], latency=10.0, clock=clock, max_running=2)
    completions = asyncio.run(backend.generate(request(n=4)))
    assert clock.now() == 20
    assert [(c.queued_s, c.total_s) for c in completions] == [(0, 10), (0, 10), (10, 20), (10, 20)]


def test_latency_may_depend_on_the_sample() -> None:
    clock = VirtualClock()
    ended: list[int] = []

    def observe(seen: Piece | tuple[int, Completion]) -> None:
        if isinstance(seen, tuple):
            ended.append(seen[0])

    backend = ScriptedBackend(["x"], latency=lambda request, index: 3.0 - index, clock=clock)
    asyncio.run(backend.generate(request(n=3), observe))
    assert ended == [2, 1, 0]


def test_observers_get_the_text_in_pieces_then_the_completion() -> None:
    seen: list[Any] = []
    asyncio.run(ScriptedBackend("one two three").generate(replace(request(), stream=True), seen.append))
    *pieces, (index, completion) = seen
    assert "".join(piece.text for piece in pieces) == completion.text == "one two three"
    assert sum((piece.tokens for piece in pieces), ()) == completion.tokens[:-1]
    assert index == 0


@pytest.mark.parametrize("answer", ["fixed", ["a", "b"]])
@pytest.mark.parametrize("rounds", [0, 1, 2, 5])
def test_cancelling_at_any_await_frees_every_slot(answer: Any, rounds: int) -> None:
    async def main() -> None:
        backend = ScriptedBackend(answer, latency=None if answer == "fixed" else 0.01, max_running=3)
        async with anyio.create_task_group() as group:
            group.start_soon(backend.generate, request(n=8))
            for _ in range(rounds):
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        assert backend.running() == 0
        counters = await backend.counters()
        assert (counters.running, counters.waiting) == (0, 0)
        assert len(await backend.generate(request(n=4))) == 4  # no slot was lost

    asyncio.run(main())


def test_one_failed_sample_ends_its_siblings() -> None:
    backend = ScriptedBackend(["slow", ValueError("x")], latency=lambda request, index: 0.0 if index else 60.0)
    with pytest.raises(BackendError):
        ask(backend, request(n=2))
    assert backend.running() == 0


def test_a_closed_engine_is_dead() -> None:
    backend = ScriptedBackend("x")
    asyncio.run(backend.aclose())
    with pytest.raises(EngineDead):
        ask(backend, request())


def test_scores_are_repeatable_log_probabilities() -> None:
    async def main() -> tuple[float, ...]:
        return await ScriptedBackend("x").score((1, 2), (300, 301, 302))

    assert asyncio.run(main()) == asyncio.run(main())
    assert len(asyncio.run(main())) == 3
    assert all(logprob <= 0 for logprob in asyncio.run(main()))


def test_a_cache_is_emptied_between_requests_only() -> None:
    backend = ScriptedBackend("four", latency=0.05)

    async def main() -> list[int | None]:
        async def cached() -> int | None:
            return (await backend.generate(request("a long question " * 20)))[0].cached_tokens

        found = [await cached(), await cached()]
        await backend.forget_prefixes()
        running = asyncio.ensure_future(cached())
        await asyncio.sleep(0.01)
        with pytest.raises(BackendError, match="in use"):
            await backend.forget_prefixes()
        return [*found, await running]

    cold, warm, emptied = asyncio.run(main())
    assert cold == emptied == 0
    assert warm
