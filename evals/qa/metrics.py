"""F1 and exact match as metrics of DSPy's form, for `rf.evaluate`, `dspy.Evaluate` and DSPy's optimizers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dspy

from reasonflow.errors import InputError
from reasonflow.evals.dataset import Problem, answer_text
from reasonflow.evals.qa import squad


def f1_metric(
    example: Any, prediction: Any, trace: object = None, pred_name: str | None = None, pred_trace: object = None
) -> float:
    """Token F1 of the prediction's `answer`, 0 to 1, with the gold answer that it meets best.

    The example has `answers`, a list, or `answer` and perhaps `aliases`. No answer scores 0. Optimizers that keep
    whatever does not score 0 need a threshold: `metric_threshold` of `dspy.BootstrapFewShot`, or `exact_match_metric`.
    Raises InputError where a field is missing. pred_name, pred_trace: GEPA gives them; they change nothing.
    """
    answer = _answer(prediction)
    return 0.0 if answer is None else squad.f1(answer, _golds(example))


def exact_match_metric(
    example: Any, prediction: Any, trace: object = None, pred_name: str | None = None, pred_trace: object = None
) -> bool:
    """Whether the prediction's `answer` is one of the example's, normalised as in SQuAD. Fields as in `f1_metric`."""
    answer = _answer(prediction)
    return answer is not None and squad.exact_match(answer, _golds(example))


def examples_of(problems: Iterable[Problem]) -> list[dspy.Example]:
    """Problems as DSPy's examples: their inputs, `answer`, and `answers` with the aliases. Evidence stays behind."""
    return [
        dspy.Example(**problem.inputs, answer=problem.answer, answers=[problem.answer, *problem.aliases]).with_inputs(
            *problem.inputs
        )
        for problem in problems
    ]


def _golds(example: Any) -> Sequence[str]:
    given = _field(example, "answers")
    if given is None:
        answer = _field(example, "answer")
        given = [] if answer is None else [answer, *(_field(example, "aliases") or ())]
    golds = [answer_text(gold) for gold in ([given] if isinstance(given, str) else given)]
    if not golds:
        raise InputError(
            "the example has no gold answer", fix='give it a field answer, or answers: dspy.Example(answers=["Ada"])'
        )
    return golds


def _answer(prediction: Any) -> str | None:
    answer = _field(prediction, "answer")
    if answer is None and not _has(prediction, "answer"):
        raise InputError(
            "the prediction has no field 'answer'", fix='name the output field answer ("question -> answer")'
        )
    return None if answer is None else answer_text(answer)


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)


def _has(value: Any, name: str) -> bool:
    return name in value if isinstance(value, Mapping) else hasattr(value, name)
