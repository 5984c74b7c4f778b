"""DSPy's engine contract, sentence by sentence: the docstrings of its `clients/engines`, kept by our engines."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import dspy
import pytest
from dspy import lm15
from dspy.clients.engines.stream_guard import achecked_stream, checked_stream
from dspy.clients.engines.streaming import ListenerBridge
from dspy.utils.callback import BaseCallback

import reasonflow as rf
from reasonflow.backends import handles, live_request, translation
from reasonflow.backends.handles import AsyncEngineHandle, EngineHandle
from reasonflow.errors import BackendError, EngineDead, InputError


class Hiccup(BackendError):
    transient = True


def request(text: str = "q", **config: Any) -> Any:
    return lm15.Request(model="scripted", messages=(lm15.Message.user(text),), config=lm15.Config(**config))


@pytest.fixture
def engine() -> Iterator[EngineHandle]:
    lm = rf.scripted("<think>hm</think>Paris is a capital")
    yield lm.engine
    lm.engine.close()


def streamed(engine: EngineHandle, asked: Any, *, asynchronous: bool) -> list[Any]:
    if not asynchronous:
        return list(checked_stream(engine.stream(asked)))

    async def collect() -> list[Any]:
        return [event async for event in achecked_stream(AsyncEngineHandle(engine).stream(asked))]

    return asyncio.run(collect())


def completed(engine: EngineHandle, asked: Any, *, asynchronous: bool) -> Any:
    return asyncio.run(AsyncEngineHandle(engine).complete(asked)) if asynchronous else engine.complete(asked)


BOTH = pytest.mark.parametrize("asynchronous", [False, True])


# "Engines consume one canonical request and produce one response." --------------------------------------------------


@BOTH
def test_one_request_gives_one_response(engine: EngineHandle, asynchronous: bool) -> None:
    response = completed(engine, request(), asynchronous=asynchronous)
    assert isinstance(response, lm15.Response)
    assert response.text == "Paris is a capital"
    counters = engine.runtime.run(engine.runtime.backend.counters)
    assert counters.output_tokens == response.usage.output_tokens


@BOTH
@pytest.mark.parametrize("wrong", [{"messages": []}, "a text", None])
def test_anything_else_is_no_request(engine: EngineHandle, wrong: Any, asynchronous: bool) -> None:
    with pytest.raises(TypeError, match="Request"):
        completed(engine, wrong, asynchronous=asynchronous)


# "They do not own DSPy's cache, retries, candidate fan-out, history or callbacks." ----------------------------------


@pytest.mark.parametrize("name", ["n", "cache", "num_retries", "rollout_id", "timeout", "api_key", "stream"])
def test_what_dspy_owns_is_refused_among_the_extensions(engine: EngineHandle, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        engine.complete(request(extensions={name: 1}))


def test_an_engine_caches_no_responses() -> None:
    lm = rf.scripted(["one", "two"])
    assert [lm.engine.complete(request()).text for _ in range(2)] == ["one", "two"]
    lm.engine.close()


def test_an_engine_writes_no_history_and_calls_no_callbacks() -> None:
    class Heard(BaseCallback):
        def __init__(self) -> None:
            self.calls = 0

        def on_lm_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
            self.calls += 1

    heard = Heard()
    lm = rf.scripted("x", callbacks=[heard])
    lm.engine.complete(request())
    assert lm.history == []
    assert heard.calls == 0
    lm("q")
    assert len(lm.history) == heard.calls == 1
    lm.engine.close()


@BOTH
def test_an_engine_makes_one_attempt(asynchronous: bool) -> None:
    asked: list[str] = []

    def answer(prompt: str, seed: int | None, index: int) -> Any:
        asked.append(prompt)
        return Hiccup("busy")

    lm = rf.scripted(answer)
    with pytest.raises(lm15.ServerError):
        completed(lm.engine, request(), asynchronous=asynchronous)
    assert len(asked) == 1
    lm.engine.close()


def test_dspy_makes_as_many_as_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def answer(prompt: str, seed: int | None, index: int) -> Any:
        asked.append(prompt)
        return Hiccup("busy")

    monkeypatch.setattr("dspy.clients.execution._delay", lambda error, attempt: 0)
    lm = rf.scripted(answer, num_retries=2)
    with pytest.raises(dspy.utils.exceptions.LMServerError):
        lm("q")
    assert len(asked) == 3
    lm.engine.close()


# "A stream emits one leading start event and one final end event only on successful completion." --------------------


@BOTH
def test_a_stream_starts_once_and_ends_once(engine: EngineHandle, asynchronous: bool) -> None:
    kinds = [event.type for event in streamed(engine, request(), asynchronous=asynchronous)]
    assert kinds[0] == "start"
    assert kinds[-1] == "end"
    assert kinds.count("start") == kinds.count("end") == 1


@BOTH
@pytest.mark.parametrize("failure", [Hiccup("busy"), ValueError("odd"), EngineDead("gone")])
def test_a_stream_that_fails_has_no_end(failure: Exception, asynchronous: bool) -> None:
    lm = rf.scripted(lambda prompt, seed, index: failure)
    seen: list[Any] = []

    def collect() -> None:
        for event in lm.engine.stream(request()):
            seen.append(event)  # noqa: PERF402  # those before the error count, too

    async def acollect() -> None:
        async for event in AsyncEngineHandle(lm.engine).stream(request()):
            seen.append(event)  # noqa: PERF401

    with pytest.raises(lm15.LM15Error):
        asyncio.run(acollect()) if asynchronous else collect()
    assert "end" not in [event.type for event in seen]
    lm.engine.close()


def test_a_stream_whose_engine_is_closed_meanwhile_has_no_end() -> None:
    lm = rf.scripted("one two three four five six", latency=30.0)
    events = lm.engine.stream(request())
    seen = [next(events)]
    lm.engine.close()
    with pytest.raises(lm15.LM15Error):
        seen.extend(events)
    assert [event.type for event in seen] == ["start"]


@BOTH
def test_a_stream_adds_up_to_the_response(engine: EngineHandle, asynchronous: bool) -> None:
    events = streamed(engine, request(seed=1), asynchronous=asynchronous)
    deltas = [event.delta for event in events if event.type == "delta"]
    whole = engine.complete(request(seed=1))
    assert "".join(delta.text for delta in deltas if delta.type == "text") == whole.text
    assert "".join(delta.text for delta in deltas if delta.type == "thinking") == "hm"
    assert events[-1].usage.output_tokens == whole.usage.output_tokens


# "Expected failures raise dspy.lm15 errors." ------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (Hiccup("busy"), lm15.ServerError),
        (BackendError("refused"), lm15.ProviderError),
        (EngineDead("gone"), lm15.ProviderError),
    ],
)
def test_expected_failures_are_lm15_errors(failure: Exception, kind: Any, asynchronous: bool) -> None:
    lm = rf.scripted(lambda prompt, seed, index: failure)
    with pytest.raises(kind) as caught:
        completed(lm.engine, request(), asynchronous=asynchronous)
    assert isinstance(caught.value.__cause__, BackendError)  # ours, with what to do
    lm.engine.close()


def test_a_bad_request_and_a_long_prompt_are_lm15_errors() -> None:
    assert isinstance(translation.their_error(InputError("odd"), "m"), lm15.InvalidRequestError)
    lm = rf.scripted("x", window=16)
    with pytest.raises(lm15.ContextLengthError):
        lm.engine.complete(request("word " * 50))
    lm.engine.close()


# "Canonical StreamErrorEvents are also accepted as terminal failures ..., never as Responses." ----------------------


def test_a_failure_is_raised_and_never_an_event() -> None:
    for module in (handles, live_request, translation):
        assert "StreamErrorEvent" not in inspect.getsource(module)


# "SDK-specific errors are translated by the owning engine; engines do not import DSPy's public error hierarchy or
# implement a second retry loop." ------------------------------------------------------------------------------------


def test_engines_know_nothing_of_dspys_public_errors() -> None:
    for module in (handles, live_request, translation):
        imported = [
            node.module
            for node in ast.walk(ast.parse(inspect.getsource(module)))
            if isinstance(node, ast.ImportFrom) and node.module
        ]
        assert "dspy.utils.exceptions" not in imported, module.__name__


# "Release stream sources without replacing an active failure or cancellation." (lifecycle.py) -----------------------


@BOTH
def test_leaving_a_stream_releases_its_request(asynchronous: bool) -> None:
    lm = rf.scripted("one two three four five six", latency=20.0)

    async def leave() -> None:
        events = AsyncEngineHandle(lm.engine).stream(request())
        await anext(events)
        await events.aclose()

    started_s = time.monotonic()
    if asynchronous:
        asyncio.run(leave())
    else:
        events = lm.engine.stream(request())
        next(events)
        events.close()
    assert lm.engine.runtime.backend.running() == 0
    assert time.monotonic() - started_s < 10
    lm.engine.close()


def test_a_cancelled_stream_stays_cancelled() -> None:
    lm = rf.scripted("one two three four five six", latency=20.0)

    async def read() -> None:
        async for _ in AsyncEngineHandle(lm.engine).stream(request()):
            pass

    async def main() -> None:
        task = asyncio.create_task(read())
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert lm.engine.runtime.backend.running() == 0
    lm.engine.close()


# "No engine silently delegates a failed request to another backend." (__init__.py)


def test_a_failed_request_is_asked_of_nobody_else() -> None:
    elsewhere: list[str] = []
    other = rf.scripted(lambda prompt, seed, index: elsewhere.append(prompt) or "x")
    lm = rf.scripted(lambda prompt, seed, index: BackendError("refused"))
    with dspy.context(lm=other), pytest.raises(lm15.ProviderError, match="refused"):
        lm.engine.complete(request())
    assert elsewhere == []
    lm.engine.close()
    other.engine.close()


# "Legacy forward() plugins ... and complete_legacy() shortcuts are 3.4 transition interfaces, deprecated." -----------


def test_engines_speak_the_canonical_contract_alone(engine: EngineHandle) -> None:
    for each in (engine, AsyncEngineHandle(engine)):
        assert not hasattr(each, "complete_legacy")
        assert not hasattr(each, "forward")


# "Bridge canonical events to DSPy's existing streaming listeners." (streaming.py) ------------------------------------


def test_dspys_listeners_hear_our_events(engine: EngineHandle) -> None:
    bridge = ListenerBridge(model="scripted")
    chunks = [chunk for event in engine.stream(request()) if (chunk := bridge.chunk(event)) is not None]
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert "".join(delta.get("content") or "" for delta in deltas) == "Paris is a capital"
    assert "".join(delta.get("reasoning_content") or "" for delta in deltas) == "hm"
    assert chunks[-1].choices[0].finish_reason == "stop"


# What a canonical request can carry ---------------------------------------------------------------------------------


def test_a_request_may_carry_our_own_sampling_options_as_extensions(engine: EngineHandle) -> None:
    assert engine.complete(request(extensions={"min_p": 0.1, "ignore_eos": True})).text
    with pytest.raises(lm15.UnsupportedFeatureError, match="best_of"):
        engine.complete(request(extensions={"best_of": 3}))


@pytest.mark.parametrize(
    "config",
    [
        {"response_format": {"type": "json_object"}},
        {"store": True},
        {"service_tier": "flex"},
        {"reasoning": lm15.Reasoning(effort="low")},
        {"probabilities": "required"},
    ],
)
def test_what_an_engine_cannot_do_is_refused_and_named(engine: EngineHandle, config: dict[str, Any]) -> None:
    with pytest.raises(lm15.UnsupportedFeatureError) as caught:
        engine.complete(request(**config))
    assert caught.value.feature.startswith("config.")


def test_a_wish_that_changes_nothing_is_recorded(engine: EngineHandle) -> None:
    response = engine.complete(request(probabilities="if_available"))
    assert [(each.field, each.action) for each in response.adaptations] == [("config.probabilities", "dropped")]
    start = next(iter(engine.stream(request(probabilities="if_available"))))
    assert start.adaptations == response.adaptations


def test_tools_are_refused_where_nothing_reads_their_calls(engine: EngineHandle) -> None:
    tool = lm15.FunctionTool(name="add", parameters={"type": "object", "properties": {}})
    with pytest.raises(lm15.UnsupportedFeatureError, match="tool_call_parser"):
        engine.complete(replace(request(), tools=(tool,)))
    assert engine.complete(replace(request(tool_choice=lm15.ToolChoice(mode="none")), tools=(tool,))).text


def test_earlier_tool_calls_and_their_results_stand_in_the_prompt() -> None:
    asked: list[str] = []

    def answer(prompt: str, seed: int | None, index: int) -> str:
        asked.append(prompt)
        return "x"

    lm = rf.scripted(answer)
    call = lm15.ToolCallPart(id="1", name="add", input={"a": 1})
    result = lm15.ToolResultPart(id="1", content=(lm15.TextPart("three<|end|>"),))
    messages = (
        lm15.Message.user("q"),
        lm15.Message(role="assistant", parts=(call,)),
        lm15.Message(role="tool", parts=(result,)),
    )
    lm.engine.complete(lm15.Request(model="scripted", messages=messages))
    assert "three" in asked[0]
    assert "three<|end|>" not in asked[0]  # a tool's text is data: it ends no turn
    lm.engine.close()


def test_adapters_learn_what_the_engine_can_do(engine: EngineHandle) -> None:
    assert "response_format" not in engine.supported_params
    assert not engine.supports_response_schema
    assert not engine.supports_function_calling
    assert {"temperature", "seed", "top_k"} <= engine.supported_params


# The real engine ----------------------------------------------------------------------------------------------------

CITY = {
    "type": "object",
    "properties": {
        "city": {"enum": ["Paris", "Lyon"]},  # a free text could be long, and hold half a character
        "people": {"type": "integer", "minimum": 0, "maximum": 999},
    },
    "required": ["city", "people"],
    "additionalProperties": False,
}


def typed(lm: dspy.LM, text: str, **config: Any) -> Any:
    message = lm15.Message.user(text)
    return lm15.Request(model=lm.model, messages=(message,), config=lm15.Config(temperature=0.0, **config))


@pytest.mark.engine
def test_a_real_engine_reports_log_probabilities(embedded_lm: dspy.LM) -> None:
    asked = typed(embedded_lm, "Name a river.", max_tokens=6, logprobs=3)
    response = embedded_lm.engine.complete(asked)
    assert len(response.logprobs) == response.usage.output_tokens
    assert all(each.top[0].logprob == each.logprob for each in response.logprobs)  # greedy took the likeliest
    assert "".join(each.token for each in response.logprobs).startswith(response.text)
    events = list(embedded_lm.engine.stream(asked))
    told = [each for event in events if event.type == "delta" for each in event.delta.logprobs]
    assert [each.token for each in told] == [each.token for each in response.logprobs]
    with pytest.raises(lm15.UnsupportedFeatureError, match="at most 20"):
        embedded_lm.engine.complete(typed(embedded_lm, "q", logprobs=21))


@pytest.mark.engine
def test_a_real_engine_follows_a_schema_and_calls_a_tool_it_must_call(embedded_lm: dspy.LM) -> None:
    form = {"type": "json_schema", "schema": CITY}
    response = embedded_lm.engine.complete(typed(embedded_lm, "A city, as JSON.", max_tokens=60, response_format=form))
    assert json.loads(response.text).keys() == {"city", "people"}
    tool = lm15.FunctionTool(name="weather", parameters=CITY)
    must = typed(embedded_lm, "The weather?", max_tokens=400, tool_choice=lm15.ToolChoice(mode="required"))
    called = embedded_lm.engine.complete(replace(must, tools=(tool,)))
    assert called.finish_reason == "tool_call"
    assert called.tool_calls[0].name == "weather"
    assert called.tool_calls[0].input.keys() == {"city", "people"}
    events = list(embedded_lm.engine.stream(replace(must, tools=(tool,))))
    assert [event.type for event in events] == ["start", "delta", "end"]
    with pytest.raises(lm15.UnsupportedFeatureError, match="tool_call_parser"):
        embedded_lm.engine.complete(replace(typed(embedded_lm, "q"), tools=(tool,)))
    bad = {"type": "json_schema", "schema": {"type": "nonsense"}}
    with pytest.raises(lm15.InvalidRequestError, match="vLLM refuses"):
        embedded_lm.engine.complete(typed(embedded_lm, "q", response_format=bad))


@pytest.mark.engine
def test_dspys_json_adapter_uses_the_schema(embedded_lm: dspy.LM) -> None:
    with dspy.context(lm=embedded_lm, adapter=dspy.JSONAdapter()):
        answer = dspy.Predict("question -> answer: bool")(question="Is 2 + 3 = 5?").answer
    assert isinstance(answer, bool)
