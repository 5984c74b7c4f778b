"""DSPy's other tools work on our programs: evaluating, sampling again, streaming, watching, copying."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import cloudpickle
import dspy
import pytest
from dspy.streaming import StatusMessage, StatusMessageProvider, StreamListener
from dspy.utils.callback import BaseCallback

import reasonflow as rf
from reasonflow.errors import UnheardAdapter
from reasonflow.language.refs import Ref


class TwoSteps(rf.Program):
    """An outline, and a solution that reads it."""

    def __init__(self) -> None:
        self.outline = rf.Generate("problem -> outline", style="text")
        self.solve = rf.Generate("problem, outline -> answer")

    def plan(self, problem: Ref) -> Any:
        return rf.answer(self.solve(problem=problem, outline=self.outline(problem=problem).text))


PROGRAMS: dict[str, tuple[Callable[[], rf.Program], list[str]]] = {
    "chain_of_thought": (rf.ChainOfThought, ["solve"]),
    "self_consistency": (lambda: rf.SelfConsistency(n=3), ["solve"]),
    "pdr": (lambda: rf.PDR(widths=(2,)), ["draft", "distill", "refine"]),
    "two_steps": (TwoSteps, ["outline", "solve"]),
}
"""How each is made, and its call sites in the order of its plan."""
every_program = pytest.mark.parametrize("make", [make for make, _ in PROGRAMS.values()], ids=PROGRAMS)
every_plan = pytest.mark.parametrize(("make", "sites"), PROGRAMS.values(), ids=PROGRAMS)


def of_seed(prompt: str, seed: int | None, index: int) -> str:
    """An answer that tells which sample it was."""
    return f"So it is.\n\\boxed{{{seed}}}"


class Told(BaseCallback):
    """What DSPy tells of modules, in order."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any, Any]] = []

    def on_module_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        self.events.append(("start", type(instance), inputs["kwargs"]))

    def on_module_end(self, call_id: str, outputs: Any, exception: Exception | None = None) -> None:
        self.events.append(("end", outputs, exception))


@every_program
def test_evaluate_with_threads(make: Callable[[], rf.Program]) -> None:
    devset = [dspy.Example(problem=f"{n}?", answer="1").with_inputs("problem") for n in range(12)]
    asked: list[str] = []

    def answer(prompt: str, seed: int | None, index: int) -> str:
        asked.append(prompt)
        return "\\boxed{1}"

    with dspy.context(lm=rf.scripted(answer)):
        evaluate = dspy.Evaluate(devset=devset, metric=_exact, num_threads=6, display_progress=False, max_errors=1)
        result = evaluate(make())
    assert result.score == 100.0
    assert [out.run.complete for _, out, _ in result.results] == [True] * 12
    assert all(any(f"{n}?" in prompt for prompt in asked) for n in range(12))


def _exact(example: dspy.Example, out: Any, trace: Any = None) -> float:
    return float(example.answer == out.answer)


@every_program
@pytest.mark.filterwarnings("ignore::reasonflow.errors.UnheardAdapter")
def test_best_of_n_and_refine_draw_new_samples_and_keep_the_best(make: Callable[[], rf.Program]) -> None:
    rewarded: list[str] = []

    def reward(inputs: dict[str, Any], out: Any) -> float:
        rewarded.append(out.answer)
        return float(out.answer) / 2**64

    with dspy.context(lm=rf.scripted(of_seed)):
        best = dspy.BestOfN(make(), N=4, reward_fn=reward, threshold=2.0)(problem="p")
    assert len(set(rewarded)) == 4
    assert float(best.answer) == max(map(float, rewarded))
    advised = rf.scripted(lambda prompt, seed, index: _advice if "advice" in prompt else of_seed(prompt, seed, index))
    rewarded.clear()
    with dspy.context(lm=advised, trace=[]):
        best = dspy.Refine(make(), N=3, reward_fn=reward, threshold=2.0)(problem="p")
    assert len(set(rewarded)) == 3
    assert float(best.answer) == max(map(float, rewarded))


_advice = '[[ ## discussion ## ]]\nWeak.\n\n[[ ## advice ## ]]\n{"solve": "Mind the gap."}\n\n[[ ## completed ## ]]'


def test_that_refines_hints_do_not_arrive_is_said() -> None:
    seen: list[str] = []

    def answer(prompt: str, seed: int | None, index: int) -> str:
        seen.append(prompt)
        return _advice if "advice" in prompt else of_seed(prompt, seed, index)

    with dspy.context(lm=rf.scripted(answer), trace=[]):
        refined = dspy.Refine(rf.ChainOfThought(), N=2, reward_fn=lambda inputs, out: 0.0, threshold=1.0)
        with pytest.warns(UnheardAdapter, match="ChainOfThought does not hear the adapter WrapperAdapter.*hints"):
            refined(problem="p")
    assert len(seen) == 3
    assert "Mind the gap." not in seen[-1]


@every_plan
def test_the_trace_has_the_programs_own_predictors_in_plan_order(make: Any, sites: list[str]) -> None:
    program = make()
    with dspy.context(lm=rf.scripted("So.\n\\boxed{1}"), trace=[]):
        program(problem="p")
        trace = list(dspy.settings.trace)
    assert len(trace) == len(sites)
    for (predictor, inputs, outputs), name in zip(trace, sites, strict=True):
        assert predictor is getattr(program, name)
        assert inputs["problem"] == "p"
        assert set(inputs) == set(predictor.signature.input_fields)
        assert set(outputs.keys()) == set(predictor.signature.output_fields)
    assert [name for name, _ in program.named_predictors()] == sites


@every_program
def test_callbacks_are_told_once_and_of_real_values(make: Callable[[], rf.Program]) -> None:
    everywhere, own = Told(), Told()
    program = make()
    program.callbacks = [own]
    with dspy.context(lm=rf.scripted("\\boxed{1}"), callbacks=[everywhere]):
        out = program(problem="p")
        asyncio.run(program.acall(problem="q"))
    for told in (everywhere, own):
        started, ended, *later = told.events
        assert started == ("start", type(program), {"problem": "p"})
        assert ended[0] == "end"
        assert ended[1] is out
        assert [event[0] for event in later] == ["start", "end"]


@every_program
def test_usage_and_history_tell_what_was_spent(make: Callable[[], rf.Program]) -> None:
    lm = rf.scripted("So.\n\\boxed{1}")
    program = make()
    with dspy.context(lm=lm, track_usage=True):
        out = program(problem="How many?")
        with dspy.track_usage() as tracker:
            program(problem="And now?")
    assert out.get_lm_usage()["scripted"]["total_tokens"] == out.run.usage.total_tokens > 0
    assert tracker.get_total_tokens()["scripted"]["completion_tokens"] > 0
    assert len(program.history) == len(lm.history) == 2 * len(program.predictors())
    shown = io.StringIO()
    program.inspect_history(n=1, file=shown)
    assert "And now?" in shown.getvalue()
    assert "\\boxed{1}" in shown.getvalue()
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        dspy.inspect_history(n=1)
    assert "And now?" in printed.getvalue()


@every_program
def test_language_models_are_set_and_found(make: Callable[[], rf.Program]) -> None:
    one, other = rf.scripted("\\boxed{1}"), rf.scripted("\\boxed{2}")
    program = make()
    assert program.get_lm() is None
    program.set_lm(other)
    assert program.get_lm() is other
    with dspy.context(lm=one):
        assert program(problem="p").answer == "2"
    assert program(problem="p").answer == "2"  # needs no context


@every_program
def test_copies_are_independent(make: Callable[[], rf.Program]) -> None:
    program = make()
    name, site = program.named_predictors()[-1]
    demo = dspy.Example(problem="1?", reasoning="As before.", answer="1")
    copies = [program.deepcopy(), copy.deepcopy(program), cloudpickle.loads(cloudpickle.dumps(program))]
    site.demos = [demo]
    copies += [program.deepcopy(), cloudpickle.loads(cloudpickle.dumps(program))]
    seen: list[str] = []

    def answer(prompt: str, seed: int | None, index: int) -> str:
        seen.append(prompt)
        return "\\boxed{1}"

    taught = []
    with dspy.context(lm=rf.scripted(answer)):
        for copied in copies:
            assert dict(copied.named_predictors())[name] is not site
            seen.clear()
            assert copied(problem="p").answer == "1"
            taught.append(any("As before." in prompt for prompt in seen))
    assert taught == [False, False, False, True, True]
    assert program.reset_copy().predictors()[-1].demos == []


def test_pickling_without_cloudpickle_is_as_dspys() -> None:
    # DSPy makes signature classes at run time, which plain pickle cannot name.
    for program in (dspy.ChainOfThought("problem -> answer"), rf.ChainOfThought("problem -> answer")):
        with pytest.raises(pickle.PicklingError, match="StringSignature"):
            pickle.dumps(program)


@every_program
def test_asyncify_runs_programs_side_by_side(make: Callable[[], rf.Program]) -> None:
    later = dspy.asyncify(make())

    async def both() -> list[str]:
        outs = await asyncio.gather(later(problem="p"), later(problem="q"))
        return [out.answer for out in outs]

    with dspy.context(lm=rf.scripted("\\boxed{1}")):
        assert asyncio.run(both()) == ["1", "1"]


class Announced(StatusMessageProvider):
    """Says when a program starts and ends."""

    def module_start_status_message(self, instance: Any, inputs: dict[str, Any]) -> str:
        return f"{type(instance).__name__} starts on {inputs['kwargs']['problem']}"

    def module_end_status_message(self, outputs: Any) -> str:
        return f"it is {outputs.answer}"


@every_program
@pytest.mark.parametrize("is_async", [False, True])
def test_streamify_gives_status_messages_and_the_prediction(make: Callable[[], rf.Program], is_async: bool) -> None:
    program = make()

    async def watched() -> list[Any]:
        streamed = dspy.streamify(program, status_message_provider=Announced(), is_async_program=is_async)
        return [value async for value in streamed(problem="p")]

    with dspy.context(lm=rf.scripted("\\boxed{1}")):
        *messages, out = asyncio.run(watched())
    assert messages == [StatusMessage(f"{type(program).__name__} starts on p"), StatusMessage("it is 1")]
    assert out.answer == "1"
    assert out.run.complete


def test_streamify_with_listeners_still_gives_the_prediction() -> None:
    async def watched() -> list[Any]:
        listener = StreamListener(signature_field_name="answer")
        streamed = dspy.streamify(rf.ChainOfThought(), stream_listeners=[listener])
        return [value async for value in streamed(problem="p")]

    with dspy.context(lm=rf.scripted("So.\n\\boxed{1}")):
        values = asyncio.run(watched())
    assert [value.answer for value in values] == ["1"]  # tokens: program.stream


def test_streamify_without_async() -> None:
    with dspy.context(lm=rf.scripted("\\boxed{1}")):
        streamed = dspy.streamify(rf.ChainOfThought(), async_streaming=False)
        assert [value.answer for value in streamed(problem="p")] == ["1"]


def test_batch_and_parallel() -> None:
    examples = [dspy.Example(problem=f"{n}?").with_inputs("problem") for n in range(5)]
    with dspy.context(lm=rf.scripted(lambda prompt, seed, index: f"\\boxed{{{prompt.count('?')}}}")):
        outs = rf.ChainOfThought().batch(examples, num_threads=3, disable_progress_bar=True)
        both = dspy.Parallel(num_threads=2, disable_progress_bar=True)(
            [(rf.ChainOfThought(), {"problem": "a?"}), (rf.SelfConsistency(n=2), {"problem": "b?"})]
        )
    assert [out.answer for out in outs] == ["1"] * 5
    assert [out.answer for out in both] == ["1", "1"]
