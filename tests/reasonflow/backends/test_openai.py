"""The client of a server that already runs, against a double of the wire."""

from __future__ import annotations

import asyncio
import json
import pickle
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import dspy
import pytest
from dspy.utils.exceptions import LMError

import reasonflow as rf
from reasonflow.backends.openai import OpenAIBackend
from reasonflow.backends.protocol import Completion, Piece, Prompt, Request, Sampling
from reasonflow.errors import BackendError, EngineDead, EngineStartError, InputError, PromptTooLong, UnknownName
from reasonflow.testing import BACKEND_LAWS, CLOSING_LAWS
from tests.reasonflow.backends.openai_server import Fault, OpenAIServer, left, said

KEY = "sk-very-secret"
Seen = list[Any]


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as running:
        yield running


def ask(text: str = "q?", n: int = 1, stream: bool = False, prompt: Prompt | None = None, **sampling: Any) -> Request:
    chat = prompt or Prompt(messages=({"role": "user", "content": text},))
    return Request(prompt=chat, sampling=Sampling(**sampling), n=n, stream=stream)


def using(server: OpenAIServer, work: Callable[[OpenAIBackend], Awaitable[Any]], **options: Any) -> Any:
    """What the work gives on a backend that is closed afterwards."""

    async def run() -> Any:
        backend = OpenAIBackend(server.model, base_url=server.base_url, **options)
        try:
            return await work(backend)
        finally:
            await backend.aclose()

    return asyncio.run(run())


def generate(server: OpenAIServer, request: Request, **options: Any) -> tuple[tuple[Completion, ...], Seen]:
    seen: Seen = []

    async def work(backend: OpenAIBackend) -> tuple[Completion, ...]:
        return await backend.generate(request, seen.append)

    return using(server, work, **options), seen


def ends(seen: Seen) -> dict[int, Completion]:
    return dict(item for item in seen if not isinstance(item, Piece))


@pytest.mark.parametrize(
    ("owned_by", "tokens"),
    [("vllm", False), ("somebody", False), ("vllm", True)],
    ids=["vllm", "another server", "vllm with token prompts"],
)
@pytest.mark.parametrize("law", [*BACKEND_LAWS, *CLOSING_LAWS], ids=lambda law: law.__name__)
def test_it_keeps(law: Any, owned_by: str, tokens: bool) -> None:
    options: dict[str, Any] = {"latency_s": 0.05, "owned_by": owned_by}
    if tokens:
        options["tokenizer"] = OpenAIBackend("m", base_url="http://x", tokenizer="embedded").tokenizer
    with OpenAIServer(**options) as server:
        made: list[OpenAIBackend] = []

        def make() -> OpenAIBackend:
            tokenizer = "embedded" if tokens else None
            made.append(OpenAIBackend("m", base_url=server.base_url, tokenizer=tokenizer, window=4096))
            return made[-1]

        async def hold() -> None:
            try:
                await law(make)
            finally:
                for backend in made:
                    await backend.aclose()

        asyncio.run(hold())
        deadline_s = time.monotonic() + 10
        while server.running and time.monotonic() < deadline_s:
            time.sleep(0.01)
        assert server.running == 0


# What is sent, and what comes back -----------------------------------------------------------------------------------


def test_only_what_is_set_is_sent_and_by_the_apis_names(server: OpenAIServer) -> None:
    generate(server, ask("hi"))
    assert server.requests[-1] == {
        "path": "/v1/chat/completions", "model": "m", "messages": [{"role": "user", "content": "hi"}]
    }  # fmt: skip
    everything = {
        "temperature": 0.5, "top_p": 0.9, "top_k": 5, "min_p": 0.1, "max_tokens": 7, "min_tokens": 2, "seed": 3,
        "presence_penalty": 0.1, "frequency_penalty": 0.2, "repetition_penalty": 1.1, "ignore_eos": True,
    }  # fmt: skip
    generate(server, ask(stop=("a", "b"), logprobs=2, **everything), extra_body={"priority": 4})
    sent = server.requests[-1]
    assert {name: sent[name] for name in everything} == everything
    assert (sent["stop"], sent["logprobs"], sent["top_logprobs"], sent["priority"]) == (["a", "b"], True, 2, 4)
    assert not {"n", "stream", "response_format", "tools"} & set(sent)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("tokens", [False, True])
def test_log_probabilities_come_back_with_as_many_others_as_asked(stream: bool, tokens: bool) -> None:
    tokenizer = "embedded" if tokens else None
    known = OpenAIBackend("m", base_url="http://x", tokenizer=tokenizer).tokenizer
    with OpenAIServer(**({"tokenizer": known} if known else {})) as server:
        ((completion,), seen) = generate(server, ask(max_tokens=4, logprobs=1, stream=stream), tokenizer=tokenizer)
        assert [len(each.top) for each in completion.logprobs] == [1] * completion.output_tokens == [1] * 4
        assert "".join(each.token for each in completion.logprobs) == completion.text
        assert all(each.logprob <= 0 and each.top[0] == (each.token, each.logprob) for each in completion.logprobs)
        if stream:
            pieces = [item for item in seen if isinstance(item, Piece)]
            assert tuple(each for piece in pieces for each in piece.logprobs) == completion.logprobs
        ((bare,), _) = generate(server, ask(max_tokens=4, stream=stream), tokenizer=tokenizer)
        assert bare.logprobs == ()


def test_a_schema_is_the_response_format(server: OpenAIServer) -> None:
    generate(server, ask(json_schema='{"type": "object"}'))
    named = server.requests[-1]["response_format"]
    assert named == {
        "type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True}
    }  # fmt: skip
    with pytest.raises(InputError, match="no JSON"):
        generate(server, ask(json_schema="{"))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("choice", "sent", "tokenizer"),
    [
        ("required", "required", None),
        ("add", {"type": "function", "function": {"name": "add"}}, None),
        ("auto", "auto", "embedded"),
    ],
)
def test_tools_are_offered_and_their_calls_come_back(
    server: OpenAIServer, stream: bool, choice: str, sent: Any, tokenizer: str | None
) -> None:
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
    prompt = Prompt(messages=({"role": "user", "content": "1 + 1"},), tools=(tool,), tool_choice=choice)
    ((completion,), _) = generate(server, ask(prompt=prompt, stream=stream), tokenizer=tokenizer)
    (call,) = completion.tool_calls
    assert (call.id, call.name, json.loads(call.arguments)) == ("call_a", "add", {"a": 1})
    assert (completion.text, completion.finish_reason) == ("", "stop")
    assert server.requests[-1]["path"] == "/v1/chat/completions"  # also where prompts are token ids
    assert (server.requests[-1]["tools"], server.requests[-1]["tool_choice"]) == ([tool], sent)


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_that_must_be_called_is_forced_where_prompts_are_token_ids(stream: bool) -> None:
    parameters = {"type": "object", "properties": {"sure": {"type": "boolean"}}, "required": ["sure"]}
    tool = {"type": "function", "function": {"name": "add", "parameters": parameters}}
    prompt = Prompt(messages=({"role": "user", "content": "1 + 1"},), tools=(tool,), tool_choice="add")
    tokenizer = OpenAIBackend("m", base_url="http://x", tokenizer="embedded").tokenizer
    assert tokenizer is not None
    with OpenAIServer(tokenizer=tokenizer) as server:
        ((completion,), seen) = generate(server, ask(prompt=prompt, stream=stream), tokenizer="embedded")
    (call,) = completion.tool_calls
    assert (call.name, json.loads(call.arguments).keys()) == ("add", {"sure"})
    assert completion.text == ""
    assert [item[1] for item in seen if not isinstance(item, Piece)] == [completion]
    assert server.requests[-1]["path"] == "/v1/completions"
    assert "tools" not in server.requests[-1]


@pytest.mark.parametrize("stream", [False, True])
def test_a_thought_told_apart_stands_in_front_of_the_text(stream: bool) -> None:
    with OpenAIServer(answer=lambda *_: "so it is", reasoning="hm") as server:
        ((completion,), seen) = generate(server, ask(stream=stream))
        assert completion.text == "<think>hm</think>so it is"
        if stream:
            assert "".join(item.text for item in seen if isinstance(item, Piece)) == completion.text


def test_tokens_go_to_the_endpoint_that_takes_them_with_the_room_there_is() -> None:
    tokenizer = OpenAIBackend("m", base_url="http://x", tokenizer="embedded").tokenizer
    assert tokenizer is not None
    with OpenAIServer(tokenizer=tokenizer, window=700) as server:
        prompt = Prompt(tokens=tokenizer.encode("The capital of France"))
        ((completion,), _) = generate(server, ask(prompt=prompt), tokenizer="embedded")
        sent = server.requests[-1]
        assert (sent["path"], tuple(sent["prompt"])) == ("/v1/completions", prompt.tokens)
        assert sent["max_tokens"] == 700 - len(prompt.tokens or ())
        assert tokenizer.decode(completion.tokens[:-1]) == completion.text
        assert len(completion.tokens) == completion.output_tokens


def test_scores_are_the_servers_and_refused_where_it_has_none(server: OpenAIServer) -> None:
    scores = using(server, lambda backend: backend.score((5, 6), (7, 208)), tokenizer="embedded")
    assert scores == pytest.approx((-0.07, -0.06))
    with pytest.raises(BackendError, match="tokenizer="):
        using(server, lambda backend: backend.score((5, 6), (7,)))
    with OpenAIServer(owned_by="somebody") as other, pytest.raises(BackendError, match="vLLM's own"):
        using(other, lambda backend: backend.score((5, 6), (7,)), tokenizer="embedded", window=99)


# Several samples, streams, cancelling --------------------------------------------------------------------------------


def by_length(prompt: str, seed: int | None, index: int) -> str:
    return "word " * (12 - 5 * index)


@pytest.mark.parametrize("owned_by", ["vllm", "somebody"])
def test_samples_are_one_request_and_their_counts_add_up_to_the_servers(owned_by: str) -> None:
    with OpenAIServer(answer=by_length, owned_by=owned_by) as server:
        completions, seen = generate(server, ask(n=3, seed=5))
        (sent,) = server.requests
        assert (sent["n"], sent["stream"], sent["seed"]) == (3, True, 5)
        assert [len(completion.text.split()) for completion in completions] == [12, 7, 2]
        assert list(ends(seen)) == [2, 1, 0]  # as they came
        written = [len(server.tokenizer.encode(completion.text)) + 1 for completion in completions]
        assert sum(completion.output_tokens for completion in completions) == sum(written)
        if owned_by == "vllm":
            assert [completion.output_tokens for completion in completions] == written
            size = len(server.tokenizer.render(sent["messages"]))
            assert {completion.prompt_tokens for completion in completions} == {size}
        assert completions[0].cached_tokens == 0


def test_a_sample_that_ends_is_told_while_the_others_go_on() -> None:
    with OpenAIServer(answer=by_length, latency_s=0.5) as server:

        async def work(backend: OpenAIBackend) -> float:
            first = asyncio.get_running_loop().create_future()
            began_s = time.monotonic()

            def seen(item: Any) -> None:
                if not first.done():
                    first.set_result(time.monotonic() - began_s)

            await backend.generate(ask(n=3), seen)
            return await first / (time.monotonic() - began_s)

        assert using(server, work) < 0.7


async def cancelled(backend: OpenAIBackend, request: Request, after_s: float) -> Seen:
    """What was told by the time the cancelled call was over."""
    seen: Seen = []
    await backend.start()
    call = asyncio.create_task(backend.generate(request, seen.append))
    await asyncio.sleep(after_s)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    return list(seen)


def test_a_plain_request_that_is_cancelled_leaves_the_server_and_counts_nothing() -> None:
    with OpenAIServer(latency_s=30) as server:
        ((index, end),) = using(server, lambda backend: cancelled(backend, ask(), 0.2))
        assert (index, end.finish_reason, end.output_tokens, end.prompt_tokens) == (0, "cancelled", 0, 0)
        assert left(server) == 1
    assert not OpenAIBackend("m", base_url="http://x").capabilities.partial_counts


def test_streamed_samples_that_are_cancelled_tell_what_they_had_written() -> None:
    with OpenAIServer(latency_s=4) as server:
        told = ends(using(server, lambda backend: cancelled(backend, ask(n=2), 1.0)))
        assert left(server) == 1
        for end in told.values():
            assert end.finish_reason == "cancelled"
            assert end.output_tokens == len(server.tokenizer.encode(end.text)) > 0
            assert end.prompt_tokens > 0
        assert set(told) == {0, 1}


def test_a_stream_of_one_sample_has_the_servers_own_count() -> None:
    with OpenAIServer(owned_by="somebody", reasoning="hm") as server:
        ((completion,), _) = generate(server, ask(stream=True, max_tokens=9))
        assert (completion.output_tokens, completion.finish_reason) == (9, "length")


def test_connections_are_kept(server: OpenAIServer) -> None:
    async def work(backend: OpenAIBackend) -> None:
        for n in (1, 2, 1, 3):
            await backend.generate(ask(n=n))

    using(server, work)
    assert (len(server.requests), len(server.connections)) == (4, 1)


# What goes wrong -----------------------------------------------------------------------------------------------------


EVENT = b'data: {"choices": [{"index": 0, "delta": {"content": "a"}}]}\n\n'


@pytest.mark.parametrize(
    ("fault", "stream", "kind", "transient", "words"),
    [
        (Fault(status=429, body=said("slow down")), False, BackendError, True, "slow down"),
        (Fault(status=503, body=b"<html>busy</html>"), True, BackendError, True, "busy"),
        (Fault(status=400, body=said("unknown field top_k")), False, InputError, False, "unknown field top_k"),
        (Fault(status=400, body=said("x" * 9000)), False, InputError, False, "x" * 500 + "\n"),
        (Fault(status=404, body=b'{"detail": "no such model"}'), True, InputError, False, "no such model"),
        (Fault(status=400, body=said("maximum context length is 9")), False, PromptTooLong, False, "length is 9"),
        (Fault(status=403, body=said("not you")), False, BackendError, False, "api_key"),
        (Fault(body=b"not json"), False, BackendError, True, "cannot be read"),
        (Fault(body=b"[" * 100_000), False, BackendError, True, "cannot be read"),
        (Fault(body=b'{"choices": []}'), False, BackendError, True, "cannot be read"),
        (Fault(body=b'{"choices": [{"message": {"content": 3}}]}'), False, BackendError, True, "cannot be read"),
        (Fault(body=b"\xff\xfe"), False, BackendError, True, "cannot be read"),
        (Fault(body=b"{}", breaks=True), False, BackendError, True, "broke off"),
        (Fault(body=EVENT, breaks=True), True, BackendError, True, "broke off"),
        (Fault(body=EVENT + b"data: [DONE]\n\n"), True, BackendError, True, "1 of 1 samples"),
        (Fault(body=b"data: {{{\n\n"), True, BackendError, True, "cannot be read"),
        (Fault(body=b'data: {"choices": [{"index": 7, "delta": {}}]}\n\n'), True, BackendError, True, "no sample 7"),
        (Fault(body=b'data: {"error": {"message": "it died", "code": 500}}\n\n'), True, BackendError, True, "it died"),
        (Fault(body=b'data: {"error": {"message": "bad n", "code": 400}}\n\n'), True, InputError, False, "bad n"),
    ],
)
def test_failures_are_ours(
    server: OpenAIServer, fault: Fault, stream: bool, kind: type, transient: bool, words: str
) -> None:
    server.faults.append(fault)
    seen: Seen = []

    async def work(backend: OpenAIBackend) -> None:
        with pytest.raises(kind) as caught:
            await backend.generate(ask(stream=stream), seen.append)
        assert type(caught.value) is kind
        assert words in f"{caught.value}\n"
        assert getattr(caught.value, "transient", False) == transient
        await backend.generate(ask())  # and the connection serves on

    using(server, work)
    assert not ends(seen)


def test_nobody_there_is_told_at_the_start_and_is_transient_in_flight() -> None:
    with OpenAIServer() as server:
        gone = server.base_url
    with pytest.raises(EngineStartError, match=r"no server answers at http://127.*\n.*\n.*api_server --model m"):
        using(server, lambda backend: backend.start())

    async def work() -> None:
        with OpenAIServer() as server:
            backend = OpenAIBackend("m", base_url=server.base_url)
            await backend.start()
        try:
            with pytest.raises(BackendError, match="broke off") as caught:
                await backend.generate(ask())
            assert caught.value.transient
            assert not isinstance(caught.value, EngineStartError)
        finally:
            await backend.aclose()

    asyncio.run(work())
    assert gone


def test_the_window_is_what_the_server_says(server: OpenAIServer) -> None:
    async def window(backend: OpenAIBackend) -> int | None:
        assert backend.window is None
        await backend.start()
        return backend.window

    assert using(server, window) == 4096
    with pytest.raises(PromptTooLong, match="maximum context length"):
        generate(server, ask("word " * 5000))


def test_a_silent_server_is_given_up() -> None:
    with OpenAIServer(latency_s=30) as server:
        with pytest.raises(BackendError, match="larger timeout_s") as caught:
            generate(server, ask(), timeout_s=0.2)
        assert not caught.value.transient
        assert left(server) == 1


def test_closing_answers_who_waits(server: OpenAIServer) -> None:
    server.latency_s = 30

    async def work(backend: OpenAIBackend) -> None:
        await backend.start()
        calls = [asyncio.create_task(backend.generate(ask(n=n))) for n in (1, 2, 1)]
        await asyncio.sleep(0.1)
        await backend.aclose()
        for call in calls:
            with pytest.raises(EngineDead, match="closed"):
                await call

    using(server, work, limit=3)


# Options, secrets ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"base_url": "localhost:8000"}, "base_url"),
        ({"base_url": "http://user:pw@host/v1"}, "user's name or password"),
        ({"base_url": "http://host:99999999/v1"}, "base_url"),
        ({"window": 0}, "window is 0"),
        ({"limit": 0}, "limit is 0"),
        ({"timeout_s": 0}, "timeout_s is 0"),
        ({"extra_body": {"n": 3, "top_a": 1}}, "extra_body sets n"),
        ({"headers": {"authorization": "Bearer x"}}, "Authorization"),
        ({"api_key": "x", "api_key_env": "Y"}, "two API keys"),
        ({"model": ""}, "no name"),
    ],
)
def test_bad_options_are_told_at_once(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        OpenAIBackend(**{"model": "m", "base_url": "http://host/v1", **options})
    assert "pw" not in str(caught.value)


def test_a_key_opens_the_server_and_is_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    with OpenAIServer(api_key=KEY, answer=lambda *_: "x") as server:
        lm = rf.openai("m", base_url=server.base_url, api_key=KEY)
        assert lm("q") == ["x"]
        other = rf.openai("m", base_url=server.base_url, api_key="another")
        assert other.engine.runtime is not lm.engine.runtime
        assert rf.openai("m", base_url=f"{server.base_url}/", api_key=KEY).engine.runtime is lm.engine.runtime
        backend = lm.engine.runtime.backend
        shown = [repr(lm), repr(lm.engine), repr(lm.engine.spec), repr(backend), str(backend.fingerprint())]
        shown += [repr(vars(backend)), lm.engine.spec.key]
        for save in (lm.engine.spec.to_json, lm.dump_state, lambda: pickle.dumps(lm)):
            with pytest.raises(BackendError, match="api_key_env") as caught:
                save()
            shown.append(str(caught.value))
        with pytest.raises(LMError, match="api_key") as refused:  # the server repeats the key it was sent
            other("q")
        assert "another" not in f"{refused.value} {refused.value.__cause__}"
        assert KEY not in " ".join(shown)

        monkeypatch.setenv("THE_KEY", KEY)
        named = rf.openai("m", base_url=server.base_url, api_key_env="THE_KEY")
        assert named("q") == ["x"]
        again = dspy.LM.load_state(named.dump_state(), allow_custom_lm_class=True)
        assert again.engine.runtime is named.engine.runtime
        assert KEY not in json.dumps(named.engine.spec.to_json())
        monkeypatch.delenv("THE_KEY")
        named.engine.close()
        with pytest.raises(LMError, match="environment variable THE_KEY"):
            rf.openai("m", base_url=server.base_url, api_key_env="THE_KEY")("q")
        for each in (lm, other):
            each.engine.close()


def test_an_unknown_option_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'max_running'"):
        rf.openai("m", base_url="http://host/v1", max_runing=3)


def test_more_samples_than_the_limit_go_in_parts_with_their_own_seeds() -> None:
    with OpenAIServer(latency_s=0.1) as server:
        completions, seen = generate(server, ask(n=5, seed=3, max_tokens=20), limit=2)
        assert server.most_running == 2
        assert sorted((sent.get("n", 1), sent["seed"]) for sent in server.requests) == [(1, 7), (2, 3), (2, 5)]
        assert sorted(ends(seen)) == [0, 1, 2, 3, 4]
        assert all(f"voice {3 + index}" in completion.text for index, completion in enumerate(completions))
        server.faults.extend([Fault(status=400, body=said("no")), Fault(status=400, body=said("no"))])
        with pytest.raises(InputError, match="no"):
            generate(server, ask(n=4), limit=2)
