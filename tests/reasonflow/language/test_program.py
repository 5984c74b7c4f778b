"""A program as its callers see it: results, errors, threads, loops, DSPy's view."""

from __future__ import annotations

import asyncio
import copy
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import cloudpickle
import dspy
import pytest
from dspy.utils.callback import BaseCallback
from dspy.utils.exceptions import AdapterParseError

import reasonflow as rf
from reasonflow.errors import BackendError, InputError, ProgramError


def test_the_result_is_a_prediction_with_its_run_beside_the_fields() -> None:
    with dspy.context(lm=rf.scripted("Six times seven. \\boxed{42}")):
        out = rf.ChainOfThought()(problem="6 * 7?")
    assert isinstance(out, dspy.Prediction)
    assert out.answer == "42"
    assert set(out.keys()) == {"reasoning", "answer"}
    assert out.run.complete
    assert out.run.usage.calls == 1


def test_a_result_without_an_answer_is_an_error_that_shows_the_text() -> None:
    program = rf.ChainOfThought()
    with dspy.context(lm=rf.scripted("I do not know.")), pytest.raises(AdapterParseError) as caught:
        program(problem="?")
    assert caught.value.signature is program.solve.signature
    assert "I do not know." in str(caught.value)
    assert caught.value.run.usage.calls == 1


def test_missing_and_unknown_inputs() -> None:
    with dspy.context(lm=rf.scripted("\\boxed{1}")):
        with pytest.raises(InputError, match="was not given problem"):
            rf.PDR()()
        with pytest.raises(InputError, match="did you mean 'problem'"):
            rf.PDR()(problm="x")
        with pytest.raises(InputError, match="problem twice"):
            rf.PDR()("x", problem="y")
        with pytest.raises(InputError, match="takes 1 input, not 2"):
            rf.PDR()("x", "y")


def test_a_plan_that_forgets_to_return_is_refused() -> None:
    class Forgetful(rf.Program):
        def __init__(self) -> None:
            self.solve = rf.Generate("problem -> answer")

        def plan(self, problem: Any) -> None:
            self.solve(problem=problem)

    with dspy.context(lm=rf.scripted("\\boxed{1}")), pytest.raises(ProgramError, match="returns nothing"):
        Forgetful()(problem="x")


def test_copies_of_a_result_keep_its_run() -> None:
    with dspy.context(lm=rf.scripted("\\boxed{1}")):
        out = rf.ChainOfThought()(problem="x")
    assert out.copy(score=1.0).run is out.run
    assert copy.copy(out).run is out.run
    assert copy.deepcopy(out).run.usage == out.run.usage
    assert cloudpickle.loads(cloudpickle.dumps(out)).run.usage == out.run.usage


def test_callbacks_are_told_of_what_runs_and_of_no_symbolic_value() -> None:
    class Told(BaseCallback):
        def __init__(self) -> None:
            self.events: list[str] = []

        def on_module_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
            self.events.append(f"{type(instance).__name__} {inputs['kwargs']}")

        def on_module_end(self, call_id: str, outputs: Any, exception: Exception | None = None) -> None:
            self.events.append(f"{type(outputs).__name__} {exception}")

    class Outer(rf.Program):
        def __init__(self) -> None:
            self.inner = rf.SelfConsistency(n=2)

        def plan(self, problem: Any) -> Any:
            return rf.answer(self.inner(problem=problem))

    told = Told()
    with dspy.context(lm=rf.scripted("\\boxed{1}"), callbacks=[told]):
        outer = Outer()
        outer.explain()
        outer(problem="x")
    assert told.events == ["Outer {'problem': 'x'}", "ProgramOutput None"]


def test_bestofn_draws_other_samples_every_time() -> None:
    seeds: list[int | None] = []

    def answer(prompt: str, seed: int | None, index: int) -> str:
        seeds.append(seed)
        return f"\\boxed{{{seed}}}"

    with dspy.context(lm=rf.scripted(answer)):
        dspy.BestOfN(rf.SelfConsistency(n=2), N=3, reward_fn=lambda inputs, out: 0.0, threshold=1.0)(problem="x")
    assert len(set(seeds)) == 6


def test_dspys_evaluator_and_its_bootstrapping_run_programs() -> None:
    devset = [dspy.Example(problem=f"{n}?", answer="1").with_inputs("problem") for n in range(6)]
    program = rf.SelfConsistency(n=2)
    with dspy.context(lm=rf.scripted("One it is.\n\\boxed{1}")):
        scored = dspy.Evaluate(devset=devset, metric=_exact, num_threads=4, display_progress=False)(program)
        taught = dspy.BootstrapFewShot(metric=_exact, max_bootstrapped_demos=2).compile(program, trainset=devset)
        assert taught(problem="new?").answer == "1"
    assert scored.score == 100.0
    assert [demo.reasoning for demo in taught.solve.demos[:2]] == ["One it is."] * 2


def _exact(example: dspy.Example, out: dspy.Prediction, trace: Any = None) -> bool:
    return bool(example.answer == out.answer)


def test_a_program_without_an_engine_says_what_to_do() -> None:
    with dspy.context(lm=None), pytest.raises(BackendError, match="no language model is loaded"):
        rf.ChainOfThought()(problem="x")


def test_a_program_needs_a_plan_and_a_usable_result() -> None:
    class Empty(rf.Program):
        pass

    class TwoRecords(rf.Program):
        def __init__(self) -> None:
            self.solve = rf.Generate("problem -> answer")

        def plan(self, problem: Any) -> Any:
            return self.solve(problem=problem), self.solve(problem=problem)

    with pytest.raises(ProgramError, match="has no plan"):
        Empty().explain()
    with pytest.raises(ProgramError, match="returns"):
        TwoRecords().explain()


def test_all_ways_to_call_give_the_same_answer() -> None:
    lm = rf.scripted(lambda prompt, seed, index: f"\\boxed{{{seed}}}")
    program = rf.SelfConsistency(n=3)

    async def within_a_loop() -> list[str]:
        first = await program.acall(problem="p")
        second = program(problem="p")  # as in a notebook: a synchronous call inside a running loop
        third, fourth = await asyncio.gather(program.acall(problem="p"), program.acall(problem="p"))
        return [first.answer, second.answer, third.answer, fourth.answer]

    with dspy.context(lm=lm):
        plain = program(problem="p").answer
        assert asyncio.run(within_a_loop()) == [plain] * 4
        with ThreadPoolExecutor(4) as threads:
            call = [threads.submit(lambda: dspy.context(lm=lm) and run_in(lm, program)) for _ in range(8)]
            assert {future.result() for future in call} == {plain}


def run_in(lm: dspy.LM, program: rf.Program) -> str:
    with dspy.context(lm=lm):
        answer: str = program(problem="p").answer
    return answer


def test_seeds_follow_the_language_model_and_dspys_rollouts() -> None:
    lm = rf.scripted(lambda prompt, seed, index: f"\\boxed{{{seed}}}", temperature=1.0)
    program = rf.ChainOfThought()

    def answer(**changes: Any) -> str:
        with dspy.context(lm=lm.copy(**changes)):
            found: str = program(problem="p").answer
        return found

    assert answer() == answer(seed=0)
    assert answer(seed=1) != answer(seed=0)
    assert answer(rollout_id=1) != answer(rollout_id=2)
    assert answer(rollout_id=1, temperature=0.5) != answer(rollout_id=1, temperature=1.0)
    assert answer(rollout_id=1) == answer(rollout_id=1)


def test_a_cancelled_await_takes_the_run_off_the_engine() -> None:
    lm = rf.scripted("\\boxed{1}", latency=60.0, clock=None)
    program = rf.SelfConsistency(n=4)

    async def main() -> None:
        with dspy.context(lm=lm):
            task = asyncio.create_task(program.acall(problem="p"))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())
    runtime = lm.engine.runtime
    assert runtime.scheduler.running == 0
    assert runtime.run(runtime.backend.counters).running == 0


def test_a_deadline_around_an_await_returns_only_when_the_run_is_off_the_engine() -> None:
    lm = rf.scripted("\\boxed{1}", latency=60.0, clock=None)
    runtime = lm.engine.runtime

    async def main() -> int:
        with dspy.context(lm=lm), anyio.move_on_after(0.05):
            await rf.SelfConsistency(n=4).acall(problem="p")
        running: int = runtime.scheduler.running
        return running

    assert asyncio.run(main()) == 0


def test_dspy_sees_traces_usage_and_history_in_plan_order() -> None:
    lm = rf.scripted("\\boxed{1}")
    program = rf.PDR(widths=(3, 2))
    with dspy.context(lm=lm, trace=[], track_usage=True):
        out = program(problem="p")
        trace = dspy.settings.trace
    assert [predictor for predictor, _, _ in trace] == [
        program.draft,
        program.distill,
        program.refine,
        program.distill,
        program.refine,
    ]
    assert trace[0][1] == {"problem": "p"}
    assert len(trace[0][2].completions) == 3
    usage = out.get_lm_usage()["scripted"]
    assert usage["total_tokens"] == out.run.usage.total_tokens
    assert len(lm.history) == 5
    assert len(program.history) == 5


def test_dspy_finds_saves_and_loads_sites_and_choices(tmp_path: Any) -> None:
    program = rf.PDR(widths=(4, 2))
    assert [name for name, _ in program.named_predictors()] == ["draft", "distill", "refine"]
    program.widths.set((8, 3))
    program.save(tmp_path / "pdr.json")
    other = rf.PDR(widths=(4, 2))
    other.load(tmp_path / "pdr.json")
    assert other.widths == (8, 3)
    assert isinstance(other.widths.value, tuple)
    state = program.dump_state()
    del state["widths"]
    fresh = rf.PDR(widths=(5,))
    fresh.load_state(state)
    assert fresh.widths == (5,)
    assert program.reset_copy().widths == (8, 3)
    clone = copy.deepcopy(program)
    assert clone.widths == (8, 3)
    assert clone.draft is not program.draft


def test_demos_teach_reasoning_and_reach_the_prompt() -> None:
    program = rf.ChainOfThought()
    program.solve.demos = [dspy.Example(problem="1+1?", reasoning="One and one.", answer="2")]
    seen: list[str] = []

    def answer(prompt: str, seed: int | None, index: int) -> str:
        seen.append(prompt)
        return "\\boxed{3}"

    with dspy.context(lm=rf.scripted(answer)):
        program(problem="1+2?")
        program.solve.demos = []
        program(problem="1+2?")
    assert "One and one." in seen[0]
    assert "One and one." not in seen[1]


def test_a_program_called_synchronously_from_a_run_is_refused_not_deadlocked() -> None:
    lm = rf.scripted("\\boxed{1}")
    inner = rf.ChainOfThought()

    class Outer(rf.Program):
        def __init__(self) -> None:
            self.solve = rf.Generate("problem -> answer")

        def plan(self, problem: Any) -> Any:
            async def bad(text: str) -> str:
                found: str = inner(problem=text).answer
                return found

            return {"value": rf.call(bad, self.solve(problem=problem).answer)}

    class Fine(Outer):
        def plan(self, problem: Any) -> Any:
            return {
                "value": rf.call(lambda text: inner(problem=text).answer, self.solve(problem=problem).answer, cap=1)
            }

    with dspy.context(lm=lm):
        with pytest.raises(ProgramError, match="inside a run"):
            Outer()(problem="p")
        assert Fine()(problem="p").value == "1"


def test_generate_outside_a_plan_runs_by_itself() -> None:
    with dspy.context(lm=rf.scripted("\\boxed{1}")):
        site = rf.Generate("problem -> answer")
        assert site(problem="p").answer == "1"
        assert len(site(problem="p", n=3).completions) == 3
        assert asyncio.run(site.acall(problem="p")).answer == "1"


def test_runs_of_many_threads_share_one_loop() -> None:
    lm = rf.scripted("\\boxed{1}")
    program = rf.SelfConsistency(n=4)
    before = {thread.name for thread in threading.enumerate()}
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: run_in(lm, program), range(64)))
    assert set(answers) == {"1"}
    time.sleep(0.01)
    ours = [t for t in threading.enumerate() if t.name.startswith("reasonflow-") and t.name not in before]
    assert len(ours) <= 1
