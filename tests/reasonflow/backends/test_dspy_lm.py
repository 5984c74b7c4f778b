"""Programs on language models that are not ours: hosted ones, custom engines, LMs that are only a `forward`."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
import weakref
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import anyio
import dspy
import pytest
from dspy import lm15
from dspy.utils.dummies import DummyLM
from dspy.utils.usage_tracker import track_usage

import reasonflow as rf
from reasonflow.backends.dspy_lm import DspyLmBackend
from reasonflow.backends.dspy_lm_engines import runtime_behind
from reasonflow.backends.protocol import Piece, Prompt, Request, Sampling
from reasonflow.errors import BackendError, BudgetExceeded, InputError, PromptTooLong
from reasonflow.testing import BACKEND_LAWS, CLOSING_LAWS
from tests.reasonflow.backends.chat_server import ChatServer, serving

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # importing LiteLLM would ask the network for prices

TEXT = "Paris is the capital of France, and it has been for a long time. " * 40
ENGINES = ("auto", "lm15", "litellm")

pytestmark = [  # of LiteLLM's own
    pytest.mark.filterwarnings("ignore:Items? .* on TypedDict class:UserWarning"),
    pytest.mark.filterwarnings("ignore:Accessing the 'model_(computed_)?fields' attribute:DeprecationWarning"),
    # LiteLLM makes its coroutine in one place and awaits it in another: a call cancelled in between leaves it.
    pytest.mark.filterwarnings("ignore:coroutine 'OpenAIChatCompletion.acompletion' was never:RuntimeWarning"),
    # It leaves connections to a loop that has ended, of calls that were cancelled.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]


def say(body: dict[str, Any]) -> str:
    """What the tests' model answers: an essay to the laws, an answer to programs."""
    asked = str(body["messages"][-1]["content"])
    if "JSON" in asked:
        return '{"sure":true}'
    return r"I count them. \boxed{25}" if "primes" in asked else TEXT


@pytest.fixture(scope="module")
def server() -> Iterator[ChatServer]:
    with serving(say, token_s=0.001) as found:
        yield found


@pytest.fixture(autouse=True)
def _fresh(server: ChatServer) -> Iterator[None]:
    server.bodies.clear()
    server.failures.clear()
    yield
    gc.collect()  # what LiteLLM has left is found here, and in no other test
    server.counts, server.thinking, server.say = True, "", say
    server.most = server.broken_off = 0


def lm_on(server: ChatServer, engine: str = "auto", model: str = "openai/test", **options: Any) -> dspy.LM:
    return dspy.LM(model, api_base=server.url, api_key="x", engine=engine, **options)


def asked(text: str = "Hello.", n: int = 1, **sampling: Any) -> Request:
    return Request(prompt=Prompt(messages=({"role": "user", "content": text},)), sampling=Sampling(**sampling), n=n)


def answers(backend: DspyLmBackend, request: Request, observe: Any = None) -> tuple[Any, ...]:
    async def ask() -> tuple[Any, ...]:
        try:
            return await backend.generate(request, observe)
        finally:
            await backend.aclose()

    return asyncio.run(ask())


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("law", [*BACKEND_LAWS, *CLOSING_LAWS], ids=lambda law: law.__name__)
def test_a_server_behind_an_lm_keeps(law: Any, engine: str, server: ChatServer) -> None:
    made: list[DspyLmBackend] = []

    def make() -> DspyLmBackend:
        made.append(DspyLmBackend(lm_on(server, engine), seeds=True))
        return made[-1]

    async def check() -> None:
        await law(make)
        for each in made:
            await each.aclose()

    asyncio.run(check())


IGNORES_ITS_OPTIONS = (
    "caps_are",
    "a_stop_string",
    "cancelling_leaves",
    "a_closed_engine",
)
"""DummyLM takes no cap, no stop string and no ignore_eos."""
FOR_DUMMIES = [law for law in BACKEND_LAWS if not law.__name__.startswith(IGNORES_ITS_OPTIONS)]


@pytest.mark.parametrize("law", FOR_DUMMIES, ids=lambda law: law.__name__)
def test_dummy_lm_keeps(law: Any) -> None:
    asyncio.run(law(lambda: DspyLmBackend(DummyLM([{"answer": f"number {i}"} for i in range(40)]))))


@pytest.mark.parametrize("engine", ["auto", "litellm"])  # lm15 carries no extra_body
def test_options_are_sent_once_and_the_lms_own_stay(engine: str, server: ChatServer) -> None:
    lm = lm_on(server, engine, temperature=0.3, max_tokens=50, reasoning_effort="low", extra_body={"min_p": 0.1})
    program = rf.Generate("problem -> answer", temperature=0.9, stop=["zzz"])
    with dspy.context(lm=lm):
        assert program(problem="How many primes are below 100?").answer == "25"
    (body,) = server.bodies
    assert (body["temperature"], body.get("max_tokens") or body["max_completion_tokens"]) == (0.9, 50)
    assert (body["reasoning_effort"], body["min_p"], body["stop"]) == ("low", 0.1, ["zzz"])
    assert "extra_body" not in body
    assert isinstance(body["seed"], int)


def test_each_sample_is_a_call_with_a_seed_of_its_own_and_dspys_cache_is_not_asked(server: ChatServer) -> None:
    lm = lm_on(server, cache=True)
    with dspy.context(lm=lm):
        for _ in range(2):
            assert rf.SelfConsistency(n=4)(problem="How many primes are below 100?").run.usage.calls == 4
    assert len(server.bodies) == 8
    assert len({body["seed"] for body in server.bodies}) == 4
    assert "n" not in server.bodies[0] or server.bodies[0]["n"] == 1


def test_what_a_public_api_cannot_carry_is_refused_by_name() -> None:
    for model, option in (("openai/gpt-4o-mini", {"top_k": 5}), ("anthropic/claude-sonnet-4-5", {"min_p": 0.1})):
        backend = DspyLmBackend(dspy.LM(model, api_key="x"))
        with pytest.raises(InputError, match=f"{model}.*{next(iter(option))}"):
            answers(backend, asked(**option))
    with pytest.raises(InputError, match="json_schema"):
        answers(DspyLmBackend(DummyLM([])), asked(json_schema="{}"))
    with pytest.raises(InputError, match="logprobs"):
        answers(DspyLmBackend(DummyLM([])), asked(logprobs=1))


def test_a_server_of_ones_own_takes_more(server: ChatServer) -> None:
    lm = lm_on(server, extra_body={"guided": 1})
    answers(DspyLmBackend(lm), asked("primes", top_k=5, min_p=0.1, ignore_eos=True, repetition_penalty=1.1))
    (body,) = server.bodies
    assert (body["top_k"], body["min_p"], body["ignore_eos"], body["repetition_penalty"], body["guided"]) == (
        5, 0.1, True, 1.1, 1,
    )  # fmt: skip
    with pytest.raises(InputError, match="takes no min_p"):
        answers(DspyLmBackend(lm_on(server, "lm15")), asked(min_p=0.1))


@pytest.mark.parametrize("engine", ENGINES)
def test_thinking_logprobs_and_tool_calls_come_along(engine: str, server: ChatServer) -> None:
    server.thinking = "let me see"
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
    request = asked("primes", logprobs=2, json_schema='{"type": "object", "properties": {}}')
    request = replace(request, prompt=replace(request.prompt, tools=(tool,), tool_choice="weather"))
    (end,) = answers(DspyLmBackend(lm_on(server, engine)), request)
    assert end.text == r"<think>let me see</think>I count them. \boxed{25}"
    assert end.tool_calls[0][:2] == ("call-1", "weather")
    assert "Paris" in end.tool_calls[0].arguments
    assert [token.token for token in end.logprobs] == ["I ", "count ", "them. ", r"\boxed{25}"]
    assert end.logprobs[0].logprob == -0.5
    assert end.logprobs[0].top == (("other", -2.0), ("other", -2.0))
    assert (end.prompt_tokens, end.output_tokens, end.cached_tokens) == (1, 4, 1)
    (body,) = server.bodies
    assert body["response_format"]["json_schema"]["schema"]["type"] == "object"
    assert body["tool_choice"] in ("weather", {"type": "function", "function": {"name": "weather"}})


@pytest.mark.parametrize("engine", ENGINES)
def test_pieces_come_as_they_are_written_also_of_thinking(engine: str, server: ChatServer) -> None:
    server.thinking = "let me see"
    seen: list[Any] = []
    (end,) = answers(DspyLmBackend(lm_on(server, engine)), replace(asked("primes"), stream=True), seen.append)
    pieces = [item.text for item in seen if isinstance(item, Piece)]
    assert len(pieces) > 4
    assert "".join(pieces) == end.text == r"<think>let me see</think>I count them. \boxed{25}"
    assert end.output_tokens == 4
    assert 0 < end.first_token_s < end.total_s


@pytest.mark.parametrize("engine", ENGINES)
def test_programs_run_end_to_end(engine: str, server: ChatServer) -> None:
    lm = lm_on(server, engine, temperature=1.0)
    with dspy.context(lm=lm):
        vote = rf.SelfConsistency(n=5)
        assert "the engine lacks: prefix sharing" in str(vote.explain())
        out = vote(problem="How many primes are below 100?")
        assert (out.answer, out.run.usage.calls, out.run.complete) == ("25", 5, True)
        assert out.run.usage.output_tokens == sum(span.output_tokens for span in out.run.spans) == 20
        assert "prefix sharing" in out.run.fingerprint["lacks"]
        assert out.run.fingerprint["server"] == server.url
        assert "counts" not in out.run.fingerprint
        assert "the engine lacks" in str(out.run.explain())
        refined = rf.PDR(widths=(4, 2))(problem="How many primes are below 100?")
        assert (refined.answer, refined.run.usage.calls) == ("25", 9)
        devset = [dspy.Example(problem="How many primes are below 100?", answer="25").with_inputs("problem")] * 3
        score = asyncio.run(rf.evaluate(vote, devset, metric=rf.math_equal, show_progress=False))
        assert score.score == 100.0

        async def watch() -> list[Any]:
            return [event async for event in vote.stream(problem="How many primes are below 100?")]

        events = asyncio.run(watch())
    assert sum(isinstance(event, rf.events.Token) for event in events) >= 10
    assert isinstance(events[-1], rf.events.Finished)


def test_dspy_is_told_of_each_call_once(server: ChatServer) -> None:
    lm = lm_on(server)
    with dspy.context(lm=lm), track_usage() as tracker:
        out = rf.SelfConsistency(n=3)(problem="How many primes are below 100?")
    told = tracker.get_total_tokens()["openai/test"]
    assert told["completion_tokens"] == out.run.usage.output_tokens == 12
    assert told["prompt_tokens"] == out.run.usage.input_tokens
    assert [len(entry["outputs"]) for entry in lm.history] == [3]


def test_budgets_in_tokens_and_dollars_are_kept(server: ChatServer) -> None:
    lm = lm_on(server, model="openai/gpt-4o-mini", temperature=1.0, max_tokens=100)
    vote = rf.SelfConsistency(n=16)
    with dspy.context(lm=lm):
        vote.budget = rf.Budget(total=1500)
        out = vote(problem="How many primes are below 100?")
        assert out.answer == "25"
        assert 0 < out.run.usage.total_tokens <= 1500
        vote.budget = rf.Budget(dollars=1e-9)
        with pytest.raises(BudgetExceeded):
            vote(problem="How many primes are below 100?")
        vote.budget = rf.Budget(dollars=0.01)
        assert vote(problem="How many primes are below 100?").run.usage.calls == 16
    assert runtime_behind(lm).backend.window == 128_000
    with dspy.context(lm=lm_on(server)), pytest.raises(InputError, match="no price is known"):
        vote(problem="How many primes are below 100?")


def test_a_model_without_caps_is_kept_within_a_budget(server: ChatServer) -> None:
    vote = rf.SelfConsistency(n=4)
    vote.budget = rf.Budget(total=1200)
    with dspy.context(lm=lm_on(server)):
        out = vote(problem="How many primes are below 100?")
    assert out.answer == "25"
    assert out.run.usage.total_tokens <= 1200


def test_no_more_calls_are_under_way_than_was_said(server: ChatServer) -> None:
    server.say = lambda body: rf"{TEXT[:300]} \boxed{{25}}"
    lm = rf.hosted(lm_on(server), max_running=3)
    assert runtime_behind(lm).backend.max_running == runtime_behind(lm.copy(temperature=1.0)).backend.max_running == 3
    with dspy.context(lm=lm):
        rf.SelfConsistency(n=8)(problem="q")
    assert 2 <= server.most <= 3
    with pytest.raises(InputError, match="max_running is 0"):
        rf.hosted(lm, max_running=0)
    with pytest.raises(InputError, match="engine of ours"):
        rf.hosted(rf.scripted("x"))


@pytest.mark.parametrize("engine", ENGINES)
def test_cancelling_ends_the_http_calls(engine: str, server: ChatServer) -> None:
    server.say = lambda body: TEXT * 40
    lm = lm_on(server, engine)

    async def leave() -> None:
        run = asyncio.create_task(rf.SelfConsistency("problem -> text", n=3).acall(problem="q"))
        while server.running < 3 and not run.done():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    with dspy.context(lm=lm):
        asyncio.run(leave())
    runtime = runtime_behind(lm)
    assert runtime.scheduler.running == 0
    assert runtime.run(runtime.backend.counters).running == 0
    for _ in range(200):
        if server.broken_off == 3:
            break
        time.sleep(0.01)
    assert (server.running, server.broken_off) == (0, 3)


@pytest.mark.parametrize("engine", ENGINES)
def test_errors_come_out_as_ours(engine: str, server: ChatServer) -> None:
    cases: list[tuple[int, dict[str, str], dict[str, Any], type[Exception], bool]] = [
        (401, {}, {"message": "wrong key", "code": "invalid_api_key"}, BackendError, False),
        (400, {}, {"message": "what is this", "code": "bad"}, BackendError, False),
        (400, {}, {"message": "too long", "code": "context_length_exceeded"}, PromptTooLong, False),
        (429, {}, {"message": "slow down", "code": "rate_limit_exceeded"}, BackendError, True),
        (429, {}, {"message": "no money", "code": "insufficient_quota"}, BackendError, False),
        (500, {}, {"message": "oh", "code": "oh"}, BackendError, True),
        (503, {}, {"message": "busy", "code": "busy"}, BackendError, True),
    ]
    for status, headers, error, kind, transient in cases:
        server.failures[:] = [(status, headers, error)]
        asked_before = len(server.bodies)
        with pytest.raises(kind) as caught:
            answers(DspyLmBackend(lm_on(server, engine)), asked())
        assert getattr(caught.value, "transient", False) is transient, (status, error)
        assert type(caught.value) is kind
        assert len(server.bodies) == asked_before + 1, "DSPy or LiteLLM tried again"
        assert caught.value.why


def test_transient_failures_are_tried_again_in_one_place_and_as_late_as_the_server_asks(server: ChatServer) -> None:
    slow = (429, {"retry-after": "0.5"}, {"message": "slow down", "code": "rate_limit_exceeded"})
    server.failures[:] = [slow]
    began = time.perf_counter()
    with dspy.context(lm=lm_on(server)):
        assert rf.ChainOfThought()(problem="How many primes are below 100?").answer == "25"
    assert time.perf_counter() - began > 0.5
    assert len(server.bodies) == 2


def test_a_server_that_is_not_there_is_a_transient_failure() -> None:
    lm = dspy.LM("openai/test", api_base="http://127.0.0.1:9/v1", api_key="x")
    with pytest.raises(BackendError, match="failed") as caught:
        answers(DspyLmBackend(lm), asked())
    assert caught.value.transient


def test_counts_that_nobody_tells_are_estimated_and_it_is_said(server: ChatServer) -> None:
    server.counts = False
    lm = lm_on(server)
    with dspy.context(lm=lm):
        out = rf.ChainOfThought()(problem="How many primes are below 100?")
    assert out.run.usage.output_tokens == -(-len(r"I count them. \boxed{25}") // 4)
    assert out.run.usage.input_tokens > 10
    assert "estimated" in out.run.fingerprint["counts"]


def test_dummy_lm_answers_in_turn() -> None:
    lm = DummyLM([{"answer": f"{i}"} for i in range(3)])
    signature = "question -> answer"
    with dspy.context(lm=lm):
        site = rf.Generate(signature, style="fields")
        assert [site(question="q").answer for _ in range(3)] == ["0", "1", "2"]
        assert [entry["outputs"][0].count("answer") for entry in lm.history] == [1, 1, 1]


class Old(dspy.BaseLM):
    """As language models were written before DSPy had engines."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(model="old", **kwargs)
        self.calls: list[dict[str, Any]] = []
        self.threads: set[str] = set()
        self.wait = threading.Event()
        self.wait.set()

    def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
        self.calls.append(kwargs)
        self.threads.add(threading.current_thread().name)
        assert self.wait.wait(10)
        if kwargs.get("temperature") == 7:
            raise RuntimeError("seven is too hot")
        text = rf"so it is \boxed{{{25}}}"
        choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        return dspy.utils.dummies.dotdict(
            model="old", choices=[choice], usage={"prompt_tokens": 9, "completion_tokens": 5}
        )


class OldAsync(Old):
    async def aforward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
        return self.forward(prompt, messages, **kwargs)


@pytest.mark.parametrize("kind", [Old, OldAsync])
def test_an_lm_that_is_only_a_forward(kind: type[Old]) -> None:
    lm = kind(max_tokens=77)
    with dspy.context(lm=lm):
        out = rf.SelfConsistency(n=3)(problem="How many?")
        hot = rf.Generate("problem -> answer", temperature=7)
        with pytest.raises(BackendError, match="failed") as caught:
            hot(problem="q")
    assert (out.answer, out.run.usage.output_tokens) == ("25", 15)
    assert "seven is too hot" in caught.value.why
    assert all("max_tokens" not in call for call in lm.calls), "its own settings are its own business"
    assert not any(name.startswith("reasonflow") for name in lm.threads) or kind is OldAsync
    assert ("a way to stop" in out.run.fingerprint["lacks"]) is (kind is Old)
    assert len(lm.history) == 1


def test_an_interrupted_run_does_not_wait_for_a_forward_that_cannot_be_stopped() -> None:
    lm = Old()
    lm.wait.clear()

    async def leave() -> None:
        with anyio.move_on_after(0.2):
            await rf.ChainOfThought().acall(problem="q")

    began = time.perf_counter()
    with dspy.context(lm=lm):
        asyncio.run(leave())
    assert time.perf_counter() - began < 3
    assert runtime_behind(lm).scheduler.running == 0
    lm.wait.set()


class Engine:
    def __init__(self) -> None:
        self.requests: list[Any] = []

    def complete(self, request: Any) -> Any:
        self.requests.append(request)
        part = lm15.TextPart(r"\boxed{25}")
        return lm15.Response(
            id=None, model=request.model, message=lm15.Message.assistant([part]), finish_reason="length",
            usage=lm15.Usage(input_tokens=11, output_tokens=3),
        )  # fmt: skip


class AsyncEngine:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    async def complete(self, request: Any) -> Any:
        return self.engine.complete(request)


@pytest.mark.parametrize("paired", [True, False])
def test_a_custom_engine(paired: bool) -> None:
    engine = Engine()
    lm = dspy.LM("mine", engine=engine, async_engine=AsyncEngine(engine) if paired else None, max_tokens=60)
    with dspy.context(lm=lm):
        out = rf.ChainOfThought()(problem="q")
    assert (out.answer, out.run.usage.input_tokens, out.run.spans[0].finish_reason) == ("25", 11, "length")
    assert engine.requests[0].config.max_tokens == 60
    assert out.run.fingerprint["engine"] == "dspy Engine"


def test_an_lm_its_copies_and_its_equals_share_an_engine(server: ChatServer) -> None:
    lm = lm_on(server, temperature=0.5)
    mine = runtime_behind(lm)
    assert mine is runtime_behind(lm)
    assert mine is runtime_behind(lm.copy(temperature=1.0, rollout_id=3))
    assert mine is runtime_behind(lm_on(server, max_tokens=9))
    assert mine is not runtime_behind(lm_on(server, model="openai/other"))
    assert mine is not runtime_behind(lm_on(server, extra_body={"x": 1}))
    assert mine is not runtime_behind(lm_on(server, "litellm"))
    assert mine is not runtime_behind(rf.hosted(lm_on(server), max_running=2))
    lm.kwargs["reasoning_effort"] = "high"
    assert mine is not runtime_behind(lm)
    dummy, old = DummyLM([{"answer": "1"}]), Old()
    assert runtime_behind(dummy) is runtime_behind(dummy.copy(temperature=0.9))
    assert runtime_behind(dummy) is not runtime_behind(DummyLM([{"answer": "1"}]))
    assert runtime_behind(old) is runtime_behind(old.copy(temperature=0.9))
    assert runtime_behind(old) is not runtime_behind(Old())
    assert runtime_behind(None) is runtime_behind(object()) is None


@pytest.mark.parametrize("make", [Old, lambda: DummyLM([{"answer": "1"}] * 9), lambda: dspy.LM("openai/gpt-4o-mini")])
def test_an_lm_is_not_kept_alive_and_its_thread_ends_with_it(make: Any) -> None:
    lm = make()
    runtime = runtime_behind(lm)
    runtime.run(runtime.backend.counters)
    (thread,) = [each for each in threading.enumerate() if each is runtime._thread]
    gone = weakref.ref(lm)
    copy = lm.copy()
    assert runtime_behind(copy) is runtime
    del lm, runtime
    gc.collect()
    assert gone() is None
    assert thread.is_alive()
    del copy
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()


def test_a_closed_engine_is_opened_anew(server: ChatServer) -> None:
    lm = lm_on(server)
    with dspy.context(lm=lm):
        rf.ChainOfThought()(problem="primes?")
        runtime_behind(lm).close()
        assert rf.ChainOfThought()(problem="primes?").answer == "25"


def test_what_is_no_language_model_is_refused() -> None:
    site = rf.ChainOfThought()
    for predictor in site.predictors():
        predictor.lm = object()
    with pytest.raises(BackendError, match="do not run on a object"):
        site(problem="q")
