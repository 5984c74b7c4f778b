"""`rf.evaluate` over DSPy examples, held against `dspy.Evaluate`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import dspy
import pytest
from dspy.evaluate import EvaluationResult

import reasonflow as rf
from reasonflow.errors import BudgetExceeded, InputError
from reasonflow.evals.evaluate import Evaluated, evaluate
from reasonflow.plan.budget import Budget

DEVSET = [
    dspy.Example(problem=f"{n} + {n} = ?", answer=str(2 * n), hardness=n / 10).with_inputs("problem") for n in range(7)
]


def run(program: dspy.Module | None = None, *metric: Callable[..., Any], **options: Any) -> Evaluated:
    options = {"lm": scripted(), "show_progress": False, **options}
    devset = options.pop("devset", DEVSET)

    async def work() -> Evaluated:
        return await evaluate(program or rf.ChainOfThought(), devset, *metric, **options)

    return anyio.run(work)


def scripted(**options: Any) -> dspy.LM:
    return rf.scripted(lambda *_: "So \\boxed{4}", **options)


def exact(example: dspy.Example, prediction: dspy.Prediction, trace: object = None) -> bool:
    return bool(example.answer == prediction.answer)


def graded(example: dspy.Example, prediction: dspy.Prediction, trace: object = None) -> float:
    return float(example.hardness)


async def asynchronous(example: dspy.Example, prediction: dspy.Prediction) -> bool:
    await anyio.lowlevel.checkpoint()
    return bool(example.answer == prediction.answer)


def with_feedback(example: dspy.Example, prediction: dspy.Prediction, trace: object = None) -> dspy.Prediction:
    return dspy.Prediction(score=example.hardness, feedback="so so")


@pytest.mark.parametrize("metric", [rf.math_equal, exact, graded, with_feedback])
def test_it_scores_as_dspy_does(metric: Callable[..., Any]) -> None:
    found = run(None, metric)
    with dspy.context(lm=scripted()):
        theirs = dspy.Evaluate(devset=DEVSET, metric=metric, num_threads=2)(rf.ChainOfThought())
    assert isinstance(found, EvaluationResult)
    assert found.score == theirs.score
    assert [example for example, *_ in found.results] == DEVSET
    for (_, prediction, score), (_, their_prediction, their_score) in zip(found.results, theirs.results, strict=True):
        assert prediction.answer == their_prediction.answer
        assert score == float(their_score)


def test_an_asynchronous_metric_is_awaited() -> None:
    assert run(None, asynchronous).score == run(None, exact).score == pytest.approx(14.29)


def test_several_samples_of_an_example_stand_beside_each_other() -> None:
    found = run(samples=3)
    assert [example.answer for example, *_ in found.results] == [e.answer for e in DEVSET for _ in range(3)]
    assert found.score == pytest.approx(14.29)
    assert len({sample.seed for sample in found.evaluation.samples}) == 21


def test_as_many_calls_as_the_engine_takes_are_in_flight() -> None:
    lm = scripted(latency=0.3, max_running=7)
    found = run(lm=lm)
    assert found.report().wall_s < 1.5, "ten calls one by one take three seconds"


def test_it_reads_well_in_a_terminal_and_in_a_notebook() -> None:
    found = run(rf.SelfConsistency(n=3), metric=graded)
    for text in (repr(found), str(found.report()), found._repr_html_()):
        assert "SelfConsistency" in text
        assert "mean score" in text
        assert "30.0%" in text
        assert "95% interval" in text
    assert "problem: 3 + 3 = ?" in found._repr_html_()
    assert found.report().total_tokens > found.report().sequential_tokens > 0
    assert found.interval.low < 0.3 < found.interval.high
    assert found.interval.method == "bootstrap"


def test_a_call_or_a_metric_that_raises_scores_nothing() -> None:
    def fragile(example: dspy.Example, prediction: dspy.Prediction) -> bool:
        if example.answer == "4":
            raise ValueError("no")
        return True

    class Fails(dspy.Module):
        def forward(self, problem: str) -> dspy.Prediction:
            if problem.startswith("0"):
                raise RuntimeError("broken")
            return dspy.Prediction(answer="4")

    found = run(Fails(), fragile)
    assert [score for *_, score in found.results] == [0, 1, 0, 1, 1, 1, 1]
    assert found.results[0][1].toDict() == {}
    assert [sample.error for sample in found.evaluation.samples if sample.error] == ["RuntimeError: broken"]
    assert found.evaluation.samples[2].reason == "the metric failed: ValueError: no"
    assert (found.report().errors, found.report().ungraded) == (1, 1)


def test_it_goes_on_in_its_folder_with_the_answers_that_are_recorded(tmp_path: Path) -> None:
    first = run(out=tmp_path, overall_budget=Budget(calls=4))
    assert len(first.results) == 4
    assert "4 of 7 samples" in first.stopped
    assert "4 of 7" in repr(first)
    found = run(out=tmp_path)
    assert found.stopped == ""
    assert found.evaluation.resumed == 4
    assert found.score == run().score
    assert [prediction.answer for _, prediction, _ in found.results] == ["4"] * 7
    assert found.results[0][1].keys() == ["answer"]
    assert found.results[6][1].keys() == ["reasoning", "answer"]


@pytest.mark.parametrize("change", ["metric", "label"])
def test_another_metric_or_label_is_another_evaluation(tmp_path: Path, change: str) -> None:
    run(out=tmp_path)
    other = [dspy.Example(**{**example, "hardness": 0}).with_inputs("problem") for example in DEVSET]
    with pytest.raises(InputError, match="another evaluation"):
        run(None, *([exact] if change == "metric" else []), devset=other if change == "label" else DEVSET, out=tmp_path)


def test_a_program_without_an_answer_field_can_be_scored() -> None:
    program = rf.ChainOfThought("problem -> solution")
    assert run(program, lambda example, prediction: prediction.solution == "4").score == 100


@pytest.mark.parametrize(
    ("options", "kind", "says"),
    [
        ({"devset": []}, InputError, "no problems"),
        ({"devset": [dspy.Example(problem="1")]}, InputError, "example 0 does not say"),
        ({"metric": lambda example, prediction: "good"}, InputError, "the metric gave 'good'"),
        ({"overall_budget": Budget(calls=1), "program": rf.SelfConsistency(n=4)}, BudgetExceeded, "no result"),
    ],
)
def test_what_is_wrong_is_said(options: dict[str, Any], kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=says):
        run(options.pop("program", None), **options)


def test_progress_goes_to_stderr_where_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    run(show_progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1].startswith("7/7 accuracy 14.3%")
    run(show_progress=None)
    assert capsys.readouterr().err == ""
