"""The model calls that a function of a run makes by itself."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import dspy
import pytest
from dspy.primitives.local_interpreter import LocalInterpreter
from dspy.utils.exceptions import AdapterParseError

import reasonflow as rf
from reasonflow.backends.protocol import Completion
from reasonflow.errors import ProgramError, RunError
from reasonflow.runtime.ambient import surrounded

FIELDS = "[[ ## reasoning ## ]]\nbecause\n\n[[ ## answer ## ]]\n{}\n\n[[ ## completed ## ]]"


def reply(prompt: str, seed: int | None, index: int) -> str:
    """Both of our styles: a box for our own call sites, DSPy's fields for its modules."""
    return FIELDS.format(f"{seed}") if "[[ ## answer ## ]]" in prompt else "so \\boxed{7}"


class Uses(rf.Program):
    """A call of our own, then a module or function that makes calls of its own, then one of ours again."""

    def __init__(self, module: Any, cap: int | None = 4) -> None:
        self.first = rf.Generate("problem -> answer")
        self.module = module
        self.last = rf.Generate("problem, hint -> answer")
        self.cap = cap

    def plan(self, problem: Any) -> Any:
        hint = rf.call(self.module, question=self.first(problem=problem).answer, cap=self.cap)
        return rf.answer(self.last(problem=problem, hint=hint.answer))


def run(program: rf.Program, answer: Any = reply, **options: Any) -> Any:
    lm = rf.scripted(answer, **options)
    try:
        with dspy.context(lm=lm, track_usage=True):
            return program(problem="What is 3 + 4?"), lm
    finally:
        lm.engine.close()


def test_a_modules_calls_are_the_runs() -> None:
    out, lm = run(Uses(dspy.ChainOfThought("question -> answer")))
    spans = out.run.spans
    assert [span.node for span in spans] == ["first", "ChainOfThought", "last"]
    assert out.run.usage.calls == out.run.usage.requests == 3
    assert out.run.sequential_tokens == sum(span.input_tokens + span.output_tokens for span in spans)
    assert [span.node for span in out.run.critical_path] == ["first", "ChainOfThought", "last"]
    assert "ChainOfThought" in str(out.run.explain())
    assert len(lm.history) == 3


def test_sums_equal_the_engines_counters() -> None:
    lm = rf.scripted(reply)
    with dspy.context(lm=lm):
        usage = Uses(dspy.ChainOfThought("question -> answer"))(problem="p").run.usage
    counters = asyncio.run(lm.engine.runtime.backend.counters())
    lm.engine.close()
    assert (usage.input_tokens, usage.cached_tokens, usage.output_tokens) == (
        counters.prompt_tokens,
        counters.cached_tokens,
        counters.output_tokens,
    )


def test_dspys_trace_has_them_in_plan_order_with_their_own_predictors() -> None:
    module = dspy.ChainOfThought("question -> answer")
    program = Uses(module)
    lm = rf.scripted(reply)
    with dspy.context(lm=lm, trace=[]):
        program(problem="p")
        trace = dspy.settings.trace
    lm.engine.close()
    assert [entry[0] for entry in trace] == [program.first, module.predict, program.last]


def test_usage_and_history_are_told_once() -> None:
    out, lm = run(Uses(dspy.ChainOfThought("question -> answer")))
    (usage,) = out.get_lm_usage().values()
    assert usage["completion_tokens"] == out.run.usage.output_tokens
    assert usage["prompt_tokens"] == out.run.usage.input_tokens
    assert len(lm.history) == 3


def test_more_calls_than_declared_fail_the_step() -> None:
    class Twice(dspy.Module):
        def __init__(self) -> None:
            self.ask = dspy.Predict("question -> answer")

        def forward(self, question: str) -> Any:
            self.ask(question=question)
            return self.ask(question=question)

    with pytest.raises(RunError, match=r"2, not 1\b") as caught:
        run(Uses(Twice(), cap=1))
    assert "cap=2" in str(caught.value)
    assert run(Uses(Twice(), cap=2))[0].run.usage.calls == 4


def test_a_module_must_say_how_many_calls_it_makes() -> None:
    with pytest.raises(ProgramError, match="how many model calls Predict makes"):
        Uses(dspy.Predict("question -> answer"), cap=None).explain()


def test_its_calls_draw_on_the_budget() -> None:
    program = Uses(dspy.ChainOfThought("question -> answer"))
    program.budget = rf.Budget(calls=2)
    with pytest.raises(rf.ReasonFlowError, match="budget"):
        run(program)
    program.budget = rf.Budget(total=2_000, sequential=2_000)
    out, _ = run(program)
    assert out.run.complete
    assert out.run.usage.total_tokens <= 2_000


def test_a_call_writes_no_more_than_the_budget_leaves() -> None:
    program = Uses(dspy.ChainOfThought("question -> answer"))
    program.budget = rf.Budget(total=900)

    def long(prompt: str, seed: int | None, index: int) -> str:
        return "word " * 5_000 if "[[ ## answer ## ]]" in prompt else "so \\boxed{7}"

    with pytest.raises((AdapterParseError, rf.ReasonFlowError)) as caught:
        run(program, long)
    assert caught.value.run.usage.total_tokens <= 900
    assert caught.value.run.usage.calls >= 2


def test_equal_runs_draw_equal_samples() -> None:
    def hint(program: rf.Program) -> Any:
        lm, seen = rf.scripted(reply), []
        with dspy.context(lm=lm, trace=[]):
            program(problem="p")
            seen = [entry[2].toDict() for entry in dspy.settings.trace]
        lm.engine.close()
        return seen

    program = Uses(dspy.ChainOfThought("question -> answer"))
    assert hint(program) == hint(program)


def test_a_program_that_a_function_calls_is_a_part_of_the_run() -> None:
    inner = rf.SelfConsistency("question -> answer", n=3)
    out, _ = run(Uses(inner), lambda prompt, seed, index: "so \\boxed{7}")
    nested = [span for span in out.run.spans if span.node == "SelfConsistency"]
    assert [span.inner for span in nested] == ["solve"] * 3
    assert [span.indices for span in nested] == [(0, 0), (0, 1), (0, 2)]
    assert out.run.usage.calls == 5
    longest = max(span.input_tokens + span.output_tokens for span in nested)
    own = sum(s.input_tokens + s.output_tokens for s in out.run.spans if s.node != "SelfConsistency")
    assert out.run.sequential_tokens == own + longest


def test_what_such_a_program_repaired_lost_and_said_is_told() -> None:
    inner = rf.BestOfN("question -> answer", n=2, verifier=lambda inputs, candidate: 1 / (len(candidate.text) - 13))
    out, _ = run(Uses(inner), ["so \\boxed{7}", "so, \\boxed{7}", "\\boxed 7", "so \\boxed{7}"])
    assert any(text.startswith("BestOfN[0]: eligible: scores:") for text in out.run.notes)
    assert any(text.startswith("BestOfN[0]: ") and "ZeroDivisionError" in text for text in out.run.failures)
    assert any(text.startswith("BestOfN[0]: solve[1]: took a \\boxed") for text in out.run.repairs)


def test_a_program_may_not_make_more_calls_than_declared() -> None:
    with pytest.raises(RunError, match="8, not 4"):
        run(Uses(rf.SelfConsistency("question -> answer", n=8)), lambda prompt, seed, index: "so \\boxed{7}")


@pytest.mark.parametrize("threads", [False, True])
def test_calls_beside_each_other_lie_side_by_side_on_the_path(threads: bool) -> None:
    ask = dspy.Predict("question -> answer")

    class Several(dspy.Module):
        def __init__(self) -> None:
            self.ask = ask

        if threads:

            def forward(self, question: str) -> Any:
                parallel = dspy.Parallel(num_threads=3, disable_progress_bar=True)
                return parallel([(self.ask, {"question": f"{question}{i}"}) for i in range(3)])[0]

        else:

            async def aforward(self, question: str) -> Any:
                calls = (self.ask.acall(question=f"{question}{i}") for i in range(3))
                return (await asyncio.gather(*calls))[0]

    out, _ = run(Uses(Several()), latency=0.2)
    asked = [span for span in out.run.spans if span.node == "Several"]
    assert len(asked) == 3
    assert sum(span.node == "Several" for span in out.run.critical_path) == 1


def test_events_tell_of_them() -> None:
    lm, seen = rf.scripted(reply), []

    async def listen() -> None:
        seen.extend([event async for event in Uses(dspy.ChainOfThought("question -> answer")).stream(problem="p")])

    with dspy.context(lm=lm):
        asyncio.run(listen())
    lm.engine.close()
    asked = [event for event in seen if event.node == "ChainOfThought"]
    kinds = [type(event).__name__ for event in asked]
    assert kinds[0] == "BranchStarted"
    assert kinds[-1] == "BranchEnded"
    assert "".join(event.text for event in asked if isinstance(event, rf.events.Token)) == asked[-1].text


def test_a_recorded_call_is_not_made_again() -> None:
    class Memory:
        def __init__(self) -> None:
            self.kept: dict[str, Completion] = {}

        def find(self, key: str) -> Completion | None:
            return self.kept.get(key)

        def keep(self, key: str, completion: Completion) -> None:
            self.kept[key] = completion

    memory, asked = Memory(), []

    def counted(prompt: str, seed: int | None, index: int) -> str:
        asked.append(prompt)
        return reply(prompt, seed, index)

    with surrounded(journal=memory):
        first, _ = run(Uses(dspy.ChainOfThought("question -> answer")), counted)
        again, _ = run(Uses(dspy.ChainOfThought("question -> answer")), counted)
    assert len(asked) == len(memory.kept) == 3
    assert all(span.replayed for span in again.run.spans)
    assert again.toDict() == first.toDict()
    assert again.run.sequential_tokens == first.run.sequential_tokens


def test_a_module_on_another_engine_stays_in_the_record() -> None:
    module = dspy.ChainOfThought("question -> answer")
    other = rf.scripted(reply, model="other")
    module.set_lm(other)
    out, _ = run(Uses(module))
    assert [span.node for span in out.run.spans] == ["first", "ChainOfThought", "last"]
    counters = asyncio.run(other.engine.runtime.backend.counters())
    other.engine.close()
    assert counters.output_tokens == out.run.spans[1].output_tokens


def nested() -> dspy.Module:
    return rf.ChainOfThought("question -> answer")


@pytest.mark.parametrize("how", ["module", "function of a module", "function of a program", "program"])
def test_cancelling_the_run_takes_them_out_of_the_engine(how: str) -> None:
    asked, ended = threading.Event(), threading.Event()

    def latency(request: Any, index: int) -> float:
        if request.label.startswith(("first", "last")):
            return 0.0
        asked.set()
        return 30.0

    def through(module: dspy.Module) -> Callable[..., Any]:
        def call(question: str) -> Any:
            try:
                return module(question=question)
            finally:
                ended.set()

        return call

    inner = {
        "module": lambda: dspy.ChainOfThought("question -> answer"),
        "function of a module": lambda: through(dspy.ChainOfThought("question -> answer")),
        "function of a program": lambda: through(nested()),
        "program": nested,
    }[how]()
    lm = rf.scripted(reply, latency=latency)
    backend = lm.engine.runtime.backend

    async def cancel() -> None:
        call = asyncio.create_task(Uses(inner).acall(problem="p"))
        await asyncio.to_thread(asked.wait)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert backend.running() == 0

    with dspy.context(lm=lm):
        asyncio.run(cancel())
    if how.startswith("function"):
        assert ended.wait(10)  # the thread that nobody waits for is refused its answer, and ends
    assert backend.running() == 0
    lm.engine.close()


def test_a_thread_that_is_left_behind_asks_nothing_more() -> None:
    asked, go_on, ended = threading.Event(), threading.Event(), threading.Event()
    errors: list[Exception] = []

    def stubborn(question: str) -> Any:
        asked.set()
        go_on.wait(10)
        try:
            return dspy.Predict("question -> answer")(question=question)
        except Exception as error:
            errors.append(error)
            raise
        finally:
            ended.set()

    lm = rf.scripted(reply)
    with dspy.context(lm=lm):

        async def cancel() -> None:
            call = asyncio.create_task(Uses(stubborn).acall(problem="p"))
            await asyncio.to_thread(asked.wait)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call

        asyncio.run(cancel())
    go_on.set()
    assert ended.wait(10)
    assert "not waited for any more" in str(errors[0])
    lm.engine.close()


def test_react_refine_and_program_of_thought_run_inside_a_plan() -> None:
    def scripted(prompt: str, seed: int | None, index: int) -> str:
        if "next_tool_name" in prompt:
            done = "Observation" in prompt or "observation_0" in prompt
            name, args = ("finish", "{}") if done else ("double", '{"number": 21}')
            return (
                f"[[ ## next_thought ## ]]\nthink\n\n[[ ## next_tool_name ## ]]\n{name}\n\n"
                f"[[ ## next_tool_args ## ]]\n{args}\n\n[[ ## completed ## ]]"
            )
        if "generated_code" in prompt and "[[ ## answer ## ]]" not in prompt:
            code = "SUBMIT({'answer': 6 * 7})"
            return f"[[ ## reasoning ## ]]\nr\n\n[[ ## generated_code ## ]]\n{code}\n\n[[ ## completed ## ]]"
        return FIELDS.format("42") if "[[ ## answer ## ]]" in prompt else "so \\boxed{7}"

    def double(number: int) -> int:
        """Twice a number."""
        return 2 * number

    def reward(args: Any, prediction: Any) -> float:
        return 1.0

    def thought() -> dspy.Module:
        with pytest.warns(DeprecationWarning, match="ProgramOfThought"):
            return dspy.ProgramOfThought("question -> answer", interpreter_factory=LocalInterpreter)

    modules: dict[str, Callable[[], dspy.Module]] = {
        "ProgramOfThought": thought,
        "ReAct": lambda: dspy.ReAct("question -> answer", tools=[double], max_iters=3),
        "Refine": lambda: dspy.Refine(dspy.Predict("question -> answer"), N=2, reward_fn=reward, threshold=0.5),
    }
    for name, make in modules.items():
        out, _ = run(Uses(make(), cap=6), scripted)
        inner = [span for span in out.run.spans if span.node == name]
        assert len(inner) >= 1, name
        assert out.answer == "7"
        assert out.run.usage.calls == len(inner) + 2
