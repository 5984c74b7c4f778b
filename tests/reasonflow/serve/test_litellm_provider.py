"""Programs called through LiteLLM itself."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import Any

import dspy
import pytest

import reasonflow as rf
from reasonflow.errors import BackendError, InputError, PromptTooLong, UnknownName

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # importing LiteLLM would ask the network for prices
litellm = pytest.importorskip("litellm")
from reasonflow.serve.litellm_provider import _PROGRAMS, register, unregister  # noqa: E402

pytestmark = [  # of LiteLLM's own
    pytest.mark.filterwarnings("ignore:Items? .* on TypedDict class:UserWarning"),
    pytest.mark.filterwarnings("ignore:Accessing the 'model_(computed_)?fields' attribute:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning"),
]
QUESTION = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How many primes are below 100?"}]


def lm(answer: Any = r"\boxed{25}", **options: Any) -> dspy.LM:
    return rf.scripted(answer, **options)


@pytest.fixture(autouse=True)
def _names() -> Iterator[None]:
    yield
    _PROGRAMS.clear()


def test_a_program_answers_by_its_name() -> None:
    asked: list[str] = []

    def script(prompt: str, seed: int, index: int) -> str:
        asked.append(prompt)
        return r"\boxed{25}"

    register("vote", rf.SelfConsistency(n=4), lm=lm(script))
    response = litellm.completion(model="reasonflow/vote", messages=QUESTION)
    assert response.choices[0].message.content == "25"
    assert response.choices[0].finish_reason == "stop"
    assert "How many primes are below 100?" in asked[0]
    run = response._hidden_params["reasonflow"]
    assert (run["calls"], run["complete"], run["fingerprint"]["engine"]) == (4, True, "scripted")
    usage = response.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens > 0
    assert usage.prompt_tokens_details.cached_tokens > 0


def test_calls_run_beside_each_other() -> None:
    register("slow", rf.ChainOfThought(), lm=lm(lambda prompt, seed, index: r"\boxed{25}", latency=0.3))

    async def ask() -> list[Any]:
        calls = [
            litellm.acompletion(model="reasonflow/slow", messages=[{"role": "user", "content": f"question {number}"}])
            for number in range(6)
        ]
        return await asyncio.gather(*calls)

    async def timed() -> tuple[float, list[Any]]:
        await litellm.acompletion(model="reasonflow/slow", messages=QUESTION)  # LiteLLM imports parts of itself here
        loop = asyncio.get_running_loop()
        began = loop.time()
        return 0.0 if (found := await ask()) is None else loop.time() - began, found

    seconds, responses = asyncio.run(timed())
    assert [response.choices[0].message.content for response in responses] == ["25"] * 6
    assert seconds < 6 * 0.3


def test_streams_bring_the_answer_its_counts_and_the_run() -> None:
    register("cot", rf.ChainOfThought(), lm=lm())
    options = {
        "model": "reasonflow/cot",
        "messages": QUESTION,
        "stream": True,
        "stream_options": {"include_usage": True},
    }

    def check(chunks: list[Any]) -> None:
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "25"
        assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == ["stop"]
        whole = litellm.stream_chunk_builder(chunks)
        assert whole.choices[0].message.content == "25"
        assert whole.usage.completion_tokens > 0

    check(list(litellm.completion(**options)))

    async def read() -> list[Any]:
        return [chunk async for chunk in await litellm.acompletion(**options)]

    check(asyncio.run(read()))


class Sum(rf.Program):
    def __init__(self) -> None:
        self.solve = rf.Generate("problem, hint -> answer")

    def plan(self, problem: Any, hint: Any) -> Any:
        return self.solve(problem=problem, hint=hint)


class Both(rf.Program):
    def __init__(self) -> None:
        self.solve = rf.Generate("problem -> answer")

    def plan(self, problem: Any, note: Any = "none") -> Any:
        solved = self.solve(problem=problem)
        return {"number": solved.answer, "note": note}


def ask(name: str, text: Any) -> str:
    found = litellm.completion(model=f"reasonflow/{name}", messages=[{"role": "user", "content": text}])
    return str(found.choices[0].message.content)


def test_how_messages_become_inputs_and_outputs_become_text() -> None:
    seen: list[str] = []

    def script(prompt: str, seed: int, index: int) -> str:
        seen.append(prompt)
        return r"\boxed{25}"

    register("sum", Sum(), lm=lm(script))
    register("both", Both(), lm=lm(script))
    assert ask("sum", '{"problem": "2 + 23?", "hint": "count"}') == "25"
    assert "2 + 23?" in seen[-1]
    assert "count" in seen[-1]
    with pytest.raises(litellm.BadRequestError, match="no JSON object"):
        ask("sum", "2 + 23?")
    assert ask("both", "2 + 23?").startswith('{"number": "25", "note": ')
    assert ask("both", '{"problem": "q", "note": "mine"}') == '{"number": "25", "note": "mine"}'
    assert ask("both", [{"type": "text", "text": "2 + "}, {"type": "text", "text": "23?"}]).startswith('{"number"')
    assert "2 + 23?" in seen[-1]
    with pytest.raises(litellm.BadRequestError, match="image_url"):
        ask("both", [{"type": "image_url", "image_url": {"url": "http://x/y.png"}}])
    with pytest.raises(litellm.BadRequestError, match="no user message"):
        litellm.completion(model="reasonflow/sum", messages=[{"role": "system", "content": "hi"}])


def test_what_a_program_cannot_honour_is_refused_unless_it_may_be_dropped() -> None:
    register("cot", rf.ChainOfThought(), lm=lm())
    with pytest.raises(litellm.UnsupportedParamsError, match="temperature"):
        litellm.completion(model="reasonflow/cot", messages=QUESTION, temperature=0.2, user="me")
    with pytest.raises(litellm.UnsupportedParamsError, match="max_tokens"):
        asyncio.run(litellm.acompletion(model="reasonflow/cot", messages=QUESTION, max_tokens=5))
    dropped = litellm.completion(model="reasonflow/cot", messages=QUESTION, temperature=0.2, drop_params=True)
    assert dropped.choices[0].message.content == "25"


def test_names() -> None:
    register("pdr", rf.ChainOfThought(), lm=lm())
    with pytest.raises(litellm.NotFoundError, match=r"unknown program 'prd'[\s\S]*known: pdr"):
        litellm.completion(model="reasonflow/prd", messages=QUESTION)
    register("pdr", rf.ChainOfThought(), lm=lm(r"\boxed{26}"))
    assert ask("pdr", "again?") == "26"
    assert sum(item["provider"] == "reasonflow" for item in litellm.custom_provider_map) == 1
    unregister("pdr")
    with pytest.raises(litellm.NotFoundError):
        ask("pdr", "again?")
    with pytest.raises(UnknownName):
        unregister("pdr")
    with pytest.raises(InputError, match="no name"):
        register(" ", rf.ChainOfThought())
    with pytest.raises(InputError, match="no ReasonFlow program"):
        register("x", dspy.Predict("question -> answer"))  # type: ignore[arg-type]


def failing(error: Exception) -> Any:
    return lm(lambda prompt, seed, index: error)


class _Failing(rf.Program):
    def __init__(self, error: Exception) -> None:
        self.error = error

    def plan(self, problem: Any) -> Any:
        def fail(_: Any) -> Any:
            raise self.error

        return rf.call(fail, problem)


def test_errors_come_out_as_litellms() -> None:
    busy = BackendError("busy")
    busy.transient = True
    cases = [
        (PromptTooLong("too long"), litellm.ContextWindowExceededError),
        (busy, litellm.ServiceUnavailableError),
        (BackendError("broken"), litellm.APIError),
        (InputError("wrong"), litellm.BadRequestError),
    ]
    for error, kind in cases:
        register("fails", _Failing(error), lm=lm())
        with pytest.raises(kind, match=error.what):
            ask("fails", "q")
        with pytest.raises(kind, match=error.what):
            asyncio.run(litellm.acompletion(model="reasonflow/fails", messages=QUESTION))
    poor = rf.ChainOfThought()
    poor.budget = rf.Budget(total=1)
    register("poor", poor, lm=lm())
    with pytest.raises(litellm.BadRequestError, match="budget"):
        ask("poor", "q")


@pytest.mark.parametrize("stream", [False, True])
def test_leaving_cancels_the_run(stream: bool) -> None:
    slow = lm(lambda prompt, seed, index: r"\boxed{25}", latency=20)
    register("slow", rf.SelfConsistency(n=4), lm=slow)
    backend = slow.engine.runtime.backend

    async def read() -> None:
        found = await litellm.acompletion(model="reasonflow/slow", messages=QUESTION, stream=stream)
        async for _ in found:
            pass

    async def leave() -> None:
        call = asyncio.create_task(read())
        while backend.running() < 4:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    asyncio.run(leave())
    assert backend.running() == 0


def test_a_timeout_cancels_the_run() -> None:
    slow = lm(lambda prompt, seed, index: r"\boxed{25}", latency=20)
    register("slow", rf.ChainOfThought(), lm=slow)
    with pytest.raises(litellm.Timeout):
        asyncio.run(litellm.acompletion(model="reasonflow/slow", messages=QUESTION, timeout=0.3, num_retries=0))
    assert slow.engine.runtime.backend.running() == 0


def test_the_callers_language_model_is_used_where_none_was_registered() -> None:
    register("cot", rf.ChainOfThought())
    with dspy.context(lm=lm()):
        assert ask("cot", "q") == "25"
        found = asyncio.run(litellm.acompletion(model="reasonflow/cot", messages=QUESTION))
    assert found.choices[0].message.content == "25"
