"""The vLLM backend. Most of it needs the real engine; the suite starts that once."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import dspy
import pytest

from reasonflow.backends import vllm_versions
from reasonflow.backends.protocol import Backend, Completion, Counters, Piece, Prompt, Request, Sampling
from reasonflow.backends.vllm import VllmBackend
from reasonflow.errors import EngineDead, EngineStartError, InputError, PromptTooLong, UnknownName

Run = Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any]
QUESTION = "Name three rivers of Europe and the seas that they flow into. "


@pytest.fixture(scope="module")
def backend(embedded_lm: dspy.LM) -> VllmBackend:
    found: VllmBackend = embedded_lm.engine.runtime.backend
    return found


@pytest.fixture(scope="module")
def run(embedded_lm: dspy.LM) -> Run:
    run: Run = embedded_lm.engine.runtime.run
    return run


def prompt(backend: Backend, text: str, at_least: int = 0) -> Prompt:
    """A chat about `text`, made longer until it has `at_least` tokens."""
    assert backend.tokenizer is not None
    while True:
        tokens = backend.tokenizer.render([{"role": "system", "content": "Help."}, {"role": "user", "content": text}])
        if len(tokens) >= at_least:
            return Prompt(tokens=tokens)
        text += QUESTION


# Without an engine


def test_modules_that_are_hidden_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    # An engine of vLLM 0.32 on a CPU cannot start once numba is imported, as bm25s does: see vllm_versions.
    there = {"llvmlite": object(), "llvmlite.binding": object(), "llvmlite_other": object()}
    for name, module in there.items():
        monkeypatch.setitem(sys.modules, name, module)  # type: ignore[arg-type]
    with vllm_versions._out_of_sight("llvmlite"):
        assert not {"llvmlite", "llvmlite.binding"} & set(sys.modules)
        assert "llvmlite_other" in sys.modules
    assert all(sys.modules[name] is module for name, module in there.items())


def test_a_backend_is_lazy_and_knows_its_sizes() -> None:
    backend = VllmBackend("embedded")
    assert (backend.model, backend.window, backend.block_size, backend.max_running) == ("embedded", 8192, 32, 128)
    assert isinstance(backend.fingerprint()["engine"], str)
    assert backend.capabilities.token_prompts
    zeros = Counters(prompt_tokens=0, cached_tokens=0, output_tokens=0, running=0, waiting=0)
    assert asyncio.run(backend.counters()) == zeros


def test_a_prompt_longer_than_the_window_is_refused_before_anything_starts() -> None:
    backend = VllmBackend("embedded", max_model_len=16)
    with pytest.raises(PromptTooLong, match=r"has 16 tokens; the model's window holds 16"):
        asyncio.run(backend.generate(Request(prompt=Prompt(tokens=(5,) * 16), label="draft")))
    with pytest.raises(InputError, match="empty"):
        asyncio.run(backend.generate(Request(prompt=Prompt(tokens=()))))
    with pytest.raises(PromptTooLong):
        asyncio.run(backend.score((5,) * 10, (5,) * 6))
    assert backend.log is None


def test_a_closed_backend_answers_that_it_is_closed() -> None:
    async def main() -> None:
        backend = VllmBackend("embedded")
        await backend.aclose()
        await backend.aclose()
        with pytest.raises(EngineDead, match="closed"):
            await backend.generate(Request(prompt=Prompt(tokens=(5,))))

    asyncio.run(main())


def test_unknown_models_are_the_callers_error() -> None:
    with pytest.raises(UnknownName, match="embedded"):
        asyncio.run(VllmBackend("embeded").start())


# The parameters of vLLM's server

REQUESTS: list[tuple[Sampling, dict[str, Any]]] = [
    (Sampling(), {}),
    (Sampling(temperature=0.7, top_p=0.9, top_k=20, min_p=0.05), {}),
    (Sampling(temperature=0.0, max_tokens=50, seed=7), {}),
    (Sampling(max_tokens=10**6, stop=("\n\n", "END"), min_tokens=2), {}),
    (Sampling(presence_penalty=0.5, frequency_penalty=-0.5, repetition_penalty=1.1, ignore_eos=True), {}),
    (Sampling(), {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "repetition_penalty": 1.05}),
    (Sampling(temperature=1.0, top_k=0), {"temperature": 0.6, "top_k": 20, "max_tokens": 300}),
    (Sampling(max_tokens=400), {"max_tokens": 300}),
]


@pytest.mark.engine
@pytest.mark.parametrize(("sampling", "defaults"), REQUESTS)
def test_sampling_is_what_vllms_server_makes_of_the_same_request(
    sampling: Sampling, defaults: dict[str, Any], backend: VllmBackend, run: Run
) -> None:
    run(backend.start)  # vLLM is imported without its warnings and its log on the way
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.entrypoints.serve.utils.api_utils import get_max_tokens

    fields = {name: getattr(sampling, name) for name in Sampling.__dataclass_fields__}
    given = {name: value for name, value in fields.items() if value is not None}
    given["max_completion_tokens"] = given.pop("max_tokens", None)
    request = ChatCompletionRequest(
        messages=[{"role": "user", "content": "x"}], **{**given, "stop": list(sampling.stop)}
    )
    theirs = request.to_sampling_params(get_max_tokens(1000, request.max_completion_tokens, 100, defaults), defaults)
    ours = vllm_versions.sampling_params(sampling, defaults=defaults, window=1000, prompt_tokens=100)
    assert {name: getattr(ours, name) for name in ours.__struct_fields__} == {
        name: getattr(theirs, name) for name in theirs.__struct_fields__
    }


@pytest.mark.engine
def test_a_ceiling_set_at_the_start_is_never_exceeded(backend: VllmBackend, run: Run) -> None:
    run(backend.start)
    params = vllm_versions.sampling_params(
        Sampling(max_tokens=500), defaults={}, window=1000, prompt_tokens=100, ceiling=64
    )
    assert params.max_tokens == 64


# The running engine


@pytest.mark.engine
def test_samples_share_their_prompt_from_a_cold_start_and_cost_little(backend: VllmBackend, run: Run) -> None:
    sampling = Sampling(max_tokens=32, seed=3, ignore_eos=True, temperature=2.0)
    walls: dict[int, list[float]] = {1: [], 8: []}
    for attempt, n in itertools.product(range(3), walls):  # the best of three: other programs use this machine too
        asked = prompt(backend, f"Attempt {attempt} with {n}: ", at_least=4 * backend.block_size)
        assert asked.tokens is not None
        began = time.perf_counter()
        samples = run(lambda asked=asked, n=n: backend.generate(Request(prompt=asked, sampling=sampling, n=n)))
        walls[n].append(time.perf_counter() - began)
        shared = shared_blocks(backend, asked.tokens)
        assert [sample.cached_tokens for sample in samples[1:]] == [shared] * (n - 1)
        assert all(sample.output_tokens == len(sample.tokens) == 32 for sample in samples)
        assert len({sample.text for sample in samples}) == n
    assert min(walls[8]) < 2 * min(walls[1]), walls


def shared_blocks(backend: VllmBackend, tokens: tuple[int, ...]) -> int:
    """Tokens in the prompt's full blocks, less the last token: an engine computes that one always."""
    return (len(tokens) - 1) // backend.block_size * backend.block_size


@pytest.mark.engine
def test_completions_add_up_to_the_engines_own_counters(backend: VllmBackend, run: Run) -> None:
    before: Counters = run(backend.counters)
    asked = [Request(prompt=prompt(backend, text), sampling=Sampling(max_tokens=24), n=3) for text in ("a", "b", "c")]

    async def all_of_them() -> list[Completion]:
        groups = await asyncio.gather(*(backend.generate(request) for request in asked))
        return [sample for group in groups for sample in group]

    samples: list[Completion] = run(all_of_them)
    after: Counters = run(backend.counters)
    assert after.prompt_tokens - before.prompt_tokens == sum(sample.prompt_tokens for sample in samples)
    assert after.output_tokens - before.output_tokens == sum(sample.output_tokens for sample in samples)
    assert after.cached_tokens - before.cached_tokens == sum(sample.cached_tokens or 0 for sample in samples)
    assert (after.running, after.waiting) == (0, 0)
    for sample in samples:
        assert 0 <= sample.queued_s <= (sample.first_token_s or 0) <= sample.total_s


@pytest.mark.engine
def test_an_observer_sees_every_piece_before_its_completion(backend: VllmBackend, run: Run) -> None:
    seen: list[Any] = []
    sampling = Sampling(max_tokens=20, seed=1, stop=("\n\n\n",), ignore_eos=True)
    request = Request(prompt=prompt(backend, "Count."), sampling=sampling, n=2, stream=True)
    samples = run(lambda: backend.generate(request, seen.append))
    for index, sample in enumerate(samples):
        pieces = [item for item in seen if isinstance(item, Piece) and item.index == index]
        assert "".join(piece.text for piece in pieces) == sample.text
        assert tuple(token for piece in pieces for token in piece.tokens) == sample.tokens
        assert seen.index((index, sample)) > max(seen.index(piece) for piece in pieces)


@pytest.mark.engine
def test_the_same_seed_gives_the_same_siblings(backend: VllmBackend, run: Run) -> None:
    request = Request(
        prompt=prompt(backend, "Invent a name."), sampling=Sampling(max_tokens=16, seed=11, temperature=2.0), n=2
    )
    first, again = (run(lambda: backend.generate(request)) for _ in range(2))
    assert [sample.text for sample in first] == [sample.text for sample in again]
    assert first[0].text != first[1].text


@pytest.mark.engine
def test_an_answer_ends_with_the_turn_or_at_its_cap(backend: VllmBackend, run: Run) -> None:
    asked = prompt(backend, "What is the capital of France? Answer in one word.")
    one_word = Sampling(temperature=0.0, json_schema=json.dumps({"enum": ["Paris"]}))  # then nothing but the turn's end
    (ended,) = run(lambda: backend.generate(Request(prompt=asked, sampling=one_word)))
    assert (ended.finish_reason, ended.text) == ("stop", '"Paris"')
    (cut,) = run(lambda: backend.generate(Request(prompt=asked, sampling=Sampling(temperature=0.0, max_tokens=2))))
    assert (cut.finish_reason, cut.output_tokens) == ("length", 2)


@pytest.mark.engine
def test_an_observer_that_wants_no_pieces_hears_of_every_end_once(backend: VllmBackend, run: Run) -> None:
    seen: list[Any] = []
    request = Request(prompt=prompt(backend, "Count."), sampling=Sampling(max_tokens=8, seed=1), n=3)
    samples = run(lambda: backend.generate(request, seen.append))
    assert sorted(seen, key=lambda end: end[0]) == list(enumerate(samples))


@pytest.mark.engine
@pytest.mark.parametrize("stream", [False, True])
def test_cancelling_frees_the_engine_and_tells_how_far_it_came(backend: VllmBackend, run: Run, stream: bool) -> None:
    most = backend.max_running
    n = most + 6

    async def main() -> tuple[Counters, Counters, Counters, list[Any]]:
        before = await backend.counters()
        seen: list[Any] = []
        endless = Sampling(max_tokens=2000, ignore_eos=True)
        request = Request(prompt=prompt(backend, f"Talk {stream}."), sampling=endless, n=n, stream=stream)
        task = asyncio.create_task(backend.generate(request, seen.append))
        while (during := await backend.counters()).output_tokens < before.output_tokens + most * 3:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return before, during, await backend.counters(), seen

    before, during, after, seen = run(main)
    assert (during.running, during.waiting) == (most, 6)
    assert (after.running, after.waiting) == (0, 0)
    ends = dict(item for item in seen if not isinstance(item, Piece))
    assert sorted(ends) == list(range(n))
    assert len([item for item in seen if not isinstance(item, Piece)]) == n
    assert {end.finish_reason for end in ends.values()} == {"cancelled"}
    begun = [end for end in ends.values() if end.output_tokens]
    assert len(begun) == most
    assert all(end.output_tokens == len(end.tokens) < 2000 for end in begun)
    assert any(end.text for end in begun)
    assert {end.prompt_tokens for end in ends.values() if not end.output_tokens} == {0}
    assert sum(end.output_tokens for end in begun) == after.output_tokens - before.output_tokens
    assert sum(end.prompt_tokens for end in begun) == after.prompt_tokens - before.prompt_tokens
    assert sum(end.cached_tokens or 0 for end in begun) == after.cached_tokens - before.cached_tokens
    assert before.steps < during.steps <= after.steps
    for index, end in ends.items():
        pieces = [item for item in seen if isinstance(item, Piece) and item.index == index]
        assert not pieces or "".join(piece.text for piece in pieces) == end.text
        assert stream or not pieces


@pytest.mark.engine
def test_an_observers_own_error_ends_its_request_only(backend: VllmBackend, run: Run) -> None:
    def observe(item: Any) -> None:
        raise ZeroDivisionError

    request = Request(prompt=prompt(backend, "Talk."), sampling=Sampling(max_tokens=500, ignore_eos=True), stream=True)
    with pytest.raises(ZeroDivisionError):
        run(lambda: backend.generate(request, observe))
    assert run(backend.counters).running == 0


@pytest.mark.engine
def test_a_score_prefers_what_the_model_would_say(backend: VllmBackend, run: Run) -> None:
    asked = prompt(backend, "What is the capital of France?").tokens
    assert asked is not None
    greedy = Sampling(temperature=0.0, max_tokens=6, ignore_eos=True)
    (said,) = run(lambda: backend.generate(Request(prompt=Prompt(tokens=asked), sampling=greedy)))
    scores = run(lambda: backend.score(asked, said.tokens))
    assert len(scores) == 6
    assert all(value <= 0 for value in scores)
    for place, other in enumerate(range(300, 306)):
        so_far = (*asked, *said.tokens[:place])
        (score,) = run(lambda so_far=so_far, other=other: backend.score(so_far, (other,)))
        assert score <= scores[place] + 0.1  # a greedy token is the likeliest, up to what rounding moves
    assert run(lambda: backend.score(asked, ())) == ()


@pytest.mark.engine
def test_options_out_of_range_are_the_callers_error_and_harm_nobody(backend: VllmBackend, run: Run) -> None:
    asked = prompt(backend, "x")
    for sampling in (Sampling(top_p=2.0), Sampling(temperature=-1.0), Sampling(min_tokens=10, max_tokens=5)):
        with pytest.raises(InputError):
            run(lambda sampling=sampling: backend.generate(Request(prompt=asked, sampling=sampling)))
    with pytest.raises(InputError):
        run(lambda: backend.generate(Request(prompt=asked, n=0)))
    assert run(lambda: backend.generate(Request(prompt=asked, sampling=Sampling(max_tokens=2))))


@pytest.mark.engine
def test_the_log_is_in_its_file_and_the_fingerprint_is_the_engines(backend: VllmBackend, run: Run) -> None:
    run(backend.start)
    assert backend.log is not None
    assert "KV cache size" in backend.log.read_text()
    fingerprint = backend.fingerprint()
    assert fingerprint["window"] == str(backend.window) == "8192"
    assert fingerprint["block_size"] == str(backend.block_size)
    assert fingerprint["dtype"] in ("bfloat16", "float32")


@pytest.mark.engine
def test_a_model_vllm_cannot_load_says_why_and_where_to_read_on(backend: VllmBackend, run: Run, tmp_path: Path) -> None:
    run(backend.start)
    config = {"architectures": ["NoSuchForCausalLM"], "model_type": "llama", "max_position_embeddings": 64}
    (tmp_path / "config.json").write_text(json.dumps(config))
    broken = VllmBackend(str(tmp_path), kv_cache_gib=0.1, log_file=tmp_path / "engine.log")
    with pytest.raises(EngineStartError) as caught:
        asyncio.run(broken.start())
    assert "NoSuchForCausalLM" in caught.value.why
    assert str(tmp_path / "engine.log") in caught.value.why
    assert "reasonflow doctor" in caught.value.fix
    assert (
        len(run(lambda: backend.generate(Request(prompt=prompt(backend, "x"), sampling=Sampling(max_tokens=1))))) == 1
    )


SCRIPT = """
import os, sys, threading
from reasonflow.backends.protocol import Prompt, Request, Sampling
from reasonflow.backends.vllm import VllmBackend
from reasonflow.runtime.runtime import Runtime

print("script", flush=True)
before = set(os.environ)
runtime = Runtime(VllmBackend("embedded", kv_cache_gib=0.25))
backend = runtime.backend
tokens = backend.tokenizer.render([{"role": "system", "content": "Help."}, {"role": "user", "content": "Hi."}])

def ask(runtime, tokens_out):
    request = Request(prompt=Prompt(tokens=tokens), sampling=Sampling(max_tokens=tokens_out, ignore_eos=True), n=2)
    return runtime.run(lambda: runtime.generate(request))

runtime.run(backend.start)
print("ready", flush=True)
try:
    ask(runtime, 6000)
except KeyboardInterrupt:
    print("interrupted", flush=True)
answers = []
worker = threading.Thread(target=lambda: answers.extend(ask(runtime, 4)))
worker.start()
worker.join()
print([answer.output_tokens for answer in answers], flush=True)
runtime.close()
second = Runtime(VllmBackend("embedded", max_model_len=512, kv_cache_gib=0.25))
print([answer.output_tokens for answer in ask(second, 3)], second.backend.window, flush=True)
print(sorted(set(os.environ) - before), flush=True)
"""


@pytest.mark.engine
def test_a_plain_script_survives_an_interrupt_restarts_its_engine_and_ends_silently(tmp_path: Path) -> None:
    file = tmp_path / "script.py"
    file.write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, str(file)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
    )
    assert process.stdout is not None
    lines = [process.stdout.readline(), process.stdout.readline()]
    time.sleep(1.5)  # in the middle of its 6000 tokens
    os.killpg(process.pid, signal.SIGINT)
    rest, errors = process.communicate(timeout=240)
    assert lines == ["script\n", "ready\n"]
    assert rest.splitlines() == ["interrupted", "[4, 4]", "[3, 3] 512", "[]"], rest
    assert errors == ""
    assert process.returncode == 0
