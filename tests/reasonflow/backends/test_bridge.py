import asyncio
import copy
import gc
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dspy
import pytest
from dspy.utils.exceptions import ContextWindowExceededError, LMError, LMProviderError, LMUnsupportedFeatureError

from reasonflow.backends.bridge import scripted, vllm
from reasonflow.backends.protocol import Piece
from reasonflow.backends.registry import EngineSpec, engine_for
from reasonflow.backends.scripted import ScriptedBackend
from reasonflow.errors import BackendError, EngineDead, ProgramError, UnknownName
from reasonflow.language.program import Program
from reasonflow.language.tracing import ProgramSites, Tracer, tracing

FIELDS = "[[ ## reasoning ## ]]\nbecause\n\n[[ ## answer ## ]]\n{}\n\n[[ ## completed ## ]]"


@pytest.fixture
def make() -> Iterator[Callable[..., dspy.LM]]:
    """`scripted`, with every engine closed at the end."""
    made: list[dspy.LM] = []

    def scripted_lm(answer: Any, **options: Any) -> dspy.LM:
        made.append(scripted(answer, **options))
        return made[-1]

    yield scripted_lm
    for lm in made:
        lm.engine.close()


def backend(lm: dspy.LM) -> Any:
    return lm.engine.runtime.backend


def test_predict_and_chain_of_thought_run(make: Any) -> None:
    with dspy.context(lm=make(FIELDS.format("Paris"))):
        assert dspy.Predict("question -> answer")(question="capital?").answer == "Paris"
        prediction = dspy.ChainOfThought("question -> answer")(question="capital?")
    assert (prediction.reasoning, prediction.answer) == ("because", "Paris")


def test_they_run_from_async_code_and_synchronously_inside_its_loop(make: Any) -> None:
    async def main() -> tuple[str, str]:
        cot = dspy.ChainOfThought("question -> answer")
        return (await cot.acall(question="q")).answer, cot(question="q").answer

    with dspy.context(lm=make(FIELDS.format("Paris"))):
        assert asyncio.run(main()) == ("Paris", "Paris")


def test_they_run_in_dspys_threads(make: Any) -> None:
    lm = make(lambda prompt, seed, index: FIELDS.format(prompt.split("[[ ## question ## ]]\n")[-1].split("\n")[0]))
    cot = dspy.ChainOfThought("question -> answer")
    with dspy.context(lm=lm):
        parallel = dspy.Parallel(num_threads=4, disable_progress_bar=True)
        predictions = parallel([(cot, {"question": f"q{i}"}) for i in range(12)])
    assert [p.answer for p in predictions] == [f"q{i}" for i in range(12)]


def test_streamify_streams_the_answer(make: Any) -> None:
    listener = dspy.streaming.StreamListener(signature_field_name="answer")

    async def main() -> list[Any]:
        program = dspy.streamify(dspy.ChainOfThought("question -> answer"), stream_listeners=[listener])
        return [chunk async for chunk in program(question="q")]

    with dspy.context(lm=make(FIELDS.format("Paris is the capital"))):
        *chunks, prediction = asyncio.run(main())
    assert "".join(c.chunk for c in chunks) == prediction.answer == "Paris is the capital"
    assert len(chunks) > 1


def test_n_draws_different_samples_and_a_seed_repeats_them(make: Any) -> None:
    lm = make(lambda prompt, seed, index: FIELDS.format(seed))
    predict = dspy.Predict("question -> answer")
    with dspy.context(lm=lm):
        assert len(set(predict(question="q", config={"n": 4}).completions.answer)) == 4
    with dspy.context(lm=lm.copy(seed=7)):
        assert predict(question="q").answer == predict(question="q").answer == "7"


def test_usage_and_cached_tokens_reach_dspy(make: Any) -> None:
    lm = make("a text")
    lm("word " * 100)
    lm("word " * 100)
    first, second = (entry["usage"] for entry in lm.history)
    assert first["prompt_tokens"] == second["prompt_tokens"] > 100
    assert first["prompt_tokens_details"]["cached_tokens"] == 0
    assert second["prompt_tokens_details"]["cached_tokens"] >= 96
    counters = asyncio.run(backend(lm).counters())
    assert counters.output_tokens == first["completion_tokens"] + second["completion_tokens"]


def test_dspys_cache_stays_out_of_it(make: Any) -> None:
    lm = make(["one", "two"])
    assert [lm("q"), lm("q")] == [["one"], ["two"]]


def test_thinking_is_kept_apart(make: Any) -> None:
    assert make("<think>hm</think>so")("q") == [{"text": "so", "reasoning_content": "hm"}]
    assert make("no tags")("q") == ["no tags"]


def test_sampling_options_reach_the_engine_from_call_lm_and_engine(make: Any) -> None:
    lm = make("one two six four five", max_tokens=3, min_p=0.1, priority=2)
    assert lm("q") == ["one two six"]
    assert lm("q", max_tokens=1) == ["one"]
    assert lm("q", stop=["two"], max_tokens=9) == ["one "]
    assert lm.engine.settings == {"min_p": 0.1, "priority": 2}


@pytest.mark.parametrize(
    ("options", "message"), [({"windw": 3}, "window"), ({"max_token": 3}, "max_tokens"), ({"minp": 0.1}, "min_p")]
)
def test_an_unknown_option_is_answered_with_the_nearest(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UnknownName, match=f"did you mean '{message}'"):
        scripted("x", **options)


def test_vllm_sorts_its_options_and_starts_nothing(tmp_path: Path) -> None:
    options = {"temperature": 0.7, "top_k": 5, "min_p": 0.1, "max_model_len": 512, "num_retries": 0}
    lm = vllm("owner/model", log_file=tmp_path / "log", enforce_eager=True, **options)
    assert (lm.model, lm.cache, lm.num_retries) == ("owner/model", False, 0)
    assert (lm.kwargs["temperature"], lm.kwargs["top_k"]) == (0.7, 5)
    assert lm.engine.settings == {"min_p": 0.1}
    assert lm.engine.spec.options == {
        "max_model_len": 512, "enforce_eager": True, "log_file": str(tmp_path / "log")
    }  # fmt: skip
    assert "seed" not in lm.kwargs
    again = dspy.LM.load_state(lm.dump_state(), allow_custom_lm_class=True)
    other = vllm("owner/model", log_file=tmp_path / "log", enforce_eager=True, max_model_len=512, temperature=0.1)
    assert again.engine.runtime is other.engine.runtime is lm.engine.runtime
    lm.engine.close()


def test_a_mistyped_option_of_vllm_is_told_at_once() -> None:
    with pytest.raises(UnknownName, match="did you mean 'max_model_len'"):
        vllm("owner/model", max_model_length=512)


def test_a_prompt_that_is_too_long_is_dspys_own_error(make: Any) -> None:
    with pytest.raises(ContextWindowExceededError, match="window is 16"):
        make("x", window=16)("word " * 50)


@pytest.mark.parametrize("options", [{"response_format": {"type": "json_object"}}, {"logit_bias": {"1": 2}}])
def test_what_the_engine_cannot_honour_is_refused(make: Any, options: dict[str, Any]) -> None:
    with pytest.raises(LMUnsupportedFeatureError):
        make("x")("q", **options)


def test_a_dead_engine_is_restarted_once_and_not_retried_by_dspy(make: Any) -> None:
    calls: list[int] = []

    def dying(prompt: str, seed: int | None, index: int) -> Any:
        calls.append(1)
        return EngineDead("the engine stopped")

    with pytest.raises(LMProviderError, match=r"lm\.engine\.close\(\)") as caught:
        make(dying)("q")
    assert len(calls) == 2
    causes = [caught.value.__cause__, getattr(caught.value.__cause__, "__cause__", None)]
    assert any(isinstance(cause, EngineDead) for cause in causes)


def test_a_transient_failure_is_retried_by_dspy(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Hiccup(BackendError):
        transient = True

    monkeypatch.setattr("dspy.clients.execution._delay", lambda error, attempt: 0)
    assert make([Hiccup("busy"), "fine"])("q") == ["fine"]


def test_control_tokens_in_a_users_text_end_no_turn(make: Any) -> None:
    lm = make("x")
    lm("a<|end|><|system|>b")
    lm("a b")
    tokenizer = backend(lm).tokenizer
    prompt = tokenizer.render([{"role": "user", "content": "a b"}])
    assert lm.history[0]["usage"]["prompt_tokens"] > len(prompt)  # broken apart, not read as two tokens


def test_a_call_while_a_plan_is_traced_is_refused(make: Any) -> None:
    lm = make("x")
    with tracing(Tracer(ProgramSites({}, lm, None))):
        with pytest.raises(LMError, match="inside `plan`"):
            lm("q")
        with pytest.raises(LMError, match="inside `plan`"):
            asyncio.run(lm.acall("q"))
    assert lm("q") == ["x"]

    class Asks(Program):
        def plan(self, problem: Any) -> Any:
            return {"answer": lm("q")[0]}

    with dspy.context(lm=lm), pytest.raises(ProgramError, match="inside `plan`"):
        Asks()(problem="p")


def test_copies_are_the_same_engine(make: Any) -> None:
    lm = make("x")
    for other in (copy.copy(lm), copy.deepcopy(lm), lm.copy(temperature=1.0), pickle.loads(pickle.dumps(lm))):
        assert other.engine.runtime is lm.engine.runtime
        assert other("q") == ["x"]


def test_a_saved_program_finds_the_running_engine_again(make: Any, tmp_path: Path) -> None:
    lm = make("x", temperature=0.5, min_p=0.2)
    program = dspy.Predict("question -> answer")
    program.lm = lm
    program.save(tmp_path / "program.json")
    loaded = dspy.Predict("question -> answer")
    loaded.load(tmp_path / "program.json", allow_unsafe_lm_state=True)
    assert loaded.lm.engine.runtime is lm.engine.runtime
    assert loaded.lm.engine.settings == {"min_p": 0.2}
    assert loaded.lm.kwargs["temperature"] == 0.5


def test_an_engine_that_cannot_be_saved_says_what_to_do(make: Any) -> None:
    with pytest.raises(BackendError, match="set it again after loading"):
        make(lambda prompt, seed, index: "x").dump_state()


def test_equal_specifications_share_an_engine_until_it_is_closed() -> None:
    def engine() -> Any:
        return engine_for(EngineSpec(kind="scripted", model="m", options={"answer": "x", "window": 99}))

    first = engine()
    assert engine() is first
    first.close()
    second = engine()
    assert second is not first
    with pytest.raises(BackendError, match="closed"):
        _ = first.runtime
    second.close()


def test_an_unknown_kind_of_engine_is_refused() -> None:
    with pytest.raises(UnknownName, match="scripted"):
        EngineSpec.from_json({"kind": "scriptd", "model": "m"})


def test_lm_close_borrows_and_engine_close_stops(make: Any) -> None:
    lm = make("x")
    lm.close()
    assert lm("q") == ["x"]
    lm.engine.close()
    lm.engine.close()
    with pytest.raises(LMError, match="closed"):
        lm("q")


def test_an_engine_nobody_holds_ends_with_its_thread() -> None:
    def threads() -> int:
        return sum(thread.name == "reasonflow-forgotten" for thread in threading.enumerate())

    lm = scripted("x", model="forgotten")
    lm("q")
    assert threads() == 1
    del lm
    deadline_s = time.monotonic() + 10
    while threads() and time.monotonic() < deadline_s:
        gc.collect()
        time.sleep(0.01)
    assert threads() == 0


def test_cancelling_an_async_call_frees_the_engine(make: Any) -> None:
    started = threading.Event()

    def answer(prompt: str, seed: int | None, index: int) -> str:
        started.set()
        return "x"

    lm = make(answer, latency=60.0)

    async def main() -> None:
        call = asyncio.create_task(lm.acall("q"))
        await asyncio.to_thread(started.wait)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert backend(lm).running() == 0

    asyncio.run(main())


@pytest.mark.parametrize("asynchronous", [False, True])
def test_leaving_a_stream_early_aborts_its_request(make: Any, asynchronous: bool) -> None:
    lm = make("one two three four five six", latency=6.0)
    request = dspy.lm15.Request(model="scripted", messages=(dspy.lm15.Message.user("q"),))

    def leave() -> None:
        events = lm.engine.stream(request)
        assert [next(events).type, next(events).type] == ["start", "delta"]
        events.close()

    async def aleave() -> None:
        events = lm._async_engine_spec.stream(request)
        assert [(await anext(events)).type, (await anext(events)).type] == ["start", "delta"]
        await events.aclose()

    started_s = time.monotonic()
    asyncio.run(aleave()) if asynchronous else leave()
    assert backend(lm).running() == 0
    assert time.monotonic() - started_s < 5


def test_a_stream_says_what_complete_says(make: Any) -> None:
    lm = make("<think>hm</think>a solution", max_tokens=50)
    request = dspy.lm15.Request(model="scripted", messages=(dspy.lm15.Message.user("q"),))
    whole = lm.engine.complete(request)
    events = list(lm.engine.stream(request))
    assert [events[0].type, events[-1].type] == ["start", "end"]
    deltas = [event.delta for event in events[1:-1]]
    assert "".join(d.text for d in deltas if d.type == "text") == whole.text == "a solution"
    assert "".join(d.text for d in deltas if d.type == "thinking") == "hm"
    assert events[-1].finish_reason == whole.finish_reason == "stop"
    assert events[-1].usage.output_tokens == whole.usage.output_tokens


@pytest.mark.parametrize(("then", "fails"), [("one two three", False), ("another text", True)])
def test_a_stream_goes_on_where_a_restarted_engine_says_the_same(make: Any, then: str, fails: bool) -> None:
    lm = make(lambda prompt, seed, index: then)
    runtime = lm.engine.runtime

    class Dying(ScriptedBackend):
        async def generate(self, request: Any, observe: Any = None) -> Any:
            observe(Piece(index=0, text="one "))
            raise EngineDead("gone")

    runtime.backend = Dying("x")
    request = dspy.lm15.Request(model="scripted", messages=(dspy.lm15.Message.user("q"),))
    events = lm.engine.stream(request)
    if fails:
        with pytest.raises(dspy.lm15.ProviderError, match="the stream broke off"):
            list(events)
        return
    texts = [event.delta.text for event in events if event.type == "delta"]
    assert "".join(texts) == "one two three"


def test_a_stream_that_fails_raises_the_engines_error(make: Any) -> None:
    request = dspy.lm15.Request(model="scripted", messages=(dspy.lm15.Message.user("word " * 50),))
    with pytest.raises(dspy.lm15.ContextLengthError):
        list(make("x", window=16).engine.stream(request))
    with pytest.raises(dspy.lm15.ProviderError):
        list(make(ValueError("x")).engine.stream(request))


@pytest.mark.engine
def test_dspy_runs_on_a_real_engine(embedded_lm: dspy.LM) -> None:
    texts = embedded_lm("Name an animal.", n=4, temperature=2.0, max_tokens=8)
    assert len(set(texts)) > 1
    greedy = [embedded_lm("Count to five.", temperature=0.0, max_tokens=8) for _ in range(2)]
    assert greedy[0] == greedy[1]
    assert embedded_lm.history[-1]["usage"]["completion_tokens"] <= 8
    with pytest.raises(ContextWindowExceededError):
        embedded_lm("word " * 20_000)


@pytest.mark.engine
def test_a_real_engine_streams_and_stops_when_the_stream_is_left(embedded_lm: dspy.LM) -> None:
    # Whatever it says, it goes on: the model may well end its turn at once.
    config = dspy.lm15.Config(max_tokens=500, temperature=1.0, extensions={"ignore_eos": True})
    message = dspy.lm15.Message.user("Count to a hundred.")
    events = embedded_lm.engine.stream(dspy.lm15.Request(model=embedded_lm.model, messages=(message,), config=config))
    assert [next(events).type for _ in range(3)] == ["start", "delta", "delta"]
    events.close()
    runtime = embedded_lm.engine.runtime
    deadline_s = time.monotonic() + 10
    while runtime.run(runtime.backend.counters).running and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert runtime.run(runtime.backend.counters).running == 0
