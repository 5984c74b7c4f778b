"""F1 and exact match in DSPy's form: with examples, problems, `rf.evaluate` and an optimizer's arguments."""

from __future__ import annotations

import inspect
from typing import Any

import anyio
import dspy
import pytest

import reasonflow as rf
from reasonflow.errors import InputError
from reasonflow.evals.dataset import Problem
from reasonflow.evals.evaluate import Evaluated
from reasonflow.evals.evidence import Evidence
from reasonflow.evals.qa import exact_match_metric, examples_of, f1_metric


@pytest.mark.parametrize(
    "gold",
    [
        {"answers": ["Ada Lovelace", "Countess of Lovelace"]},
        {"answer": "Ada Lovelace", "aliases": ("Countess of Lovelace",)},
        {"answer": "Ada", "answers": ["Ada Lovelace", "Countess of Lovelace"]},
    ],
)
def test_the_best_gold_answer_counts(gold: dict[str, Any]) -> None:
    for example in (gold, dspy.Example(**gold)):
        assert f1_metric(example, dspy.Prediction(answer="Queen Ada Lovelace")) == pytest.approx(0.8)
        assert exact_match_metric(example, dspy.Prediction(answer="the countess of Lovelace")) is True
        assert exact_match_metric(example, {"answer": "Ada"}) is False


def test_no_answer_is_wrong_and_a_missing_field_is_an_error() -> None:
    example = dspy.Example(answer="no")
    assert f1_metric(example, dspy.Prediction(answer=None)) == 0
    assert exact_match_metric(example, dspy.Prediction(answer=None)) is False
    for metric in (f1_metric, exact_match_metric):
        with pytest.raises(InputError, match="no field 'answer'"):
            metric(example, dspy.Prediction(result="no"))
        for without in (dspy.Example(question="?"), dspy.Example(answers=[])):
            with pytest.raises(InputError, match="no gold answer"):
                metric(without, dspy.Prediction(answer="no"))


def test_answers_of_other_types_are_read_as_json() -> None:
    assert exact_match_metric({"answer": 7}, {"answer": "7"})
    assert f1_metric({"answers": [["Ada", "Grace"]]}, {"answer": "Ada, Grace"}) == 1


def test_every_form_of_call_of_dspys_optimizers_fits() -> None:
    for metric in (f1_metric, exact_match_metric):
        inspect.signature(metric).bind(None, None, None, None, None)
        assert metric({"answer": "a b"}, {"answer": "a b"}, trace=[]) == 1


def test_problems_become_examples_that_evaluate_takes() -> None:
    problems = [
        Problem(
            id=name, inputs={"question": name}, answer="Ada Lovelace", kind="text", evidence=Evidence(titles=("Ada",))
        )
        for name in ("first", "second")
    ]
    examples = examples_of(problems)
    assert [example.inputs().toDict() for example in examples] == [{"question": "first"}, {"question": "second"}]
    assert "evidence" not in examples[0]
    lm = rf.scripted(lambda prompt, *_: "It is \\boxed{Ada Lovelace}" if "first" in prompt else "It is \\boxed{Ada}")
    program = rf.ChainOfThought("question -> answer")

    async def work() -> Evaluated:
        return await rf.evaluate(program, examples, f1_metric, lm=lm, show_progress=False)

    found = anyio.run(work)
    assert [score for *_, score in found.results] == [1, pytest.approx(2 / 3)]
