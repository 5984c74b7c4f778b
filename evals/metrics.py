"""Metrics in DSPy's form."""

from __future__ import annotations

import atexit
import os
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from reasonflow.errors import InputError
from reasonflow.evals.grading import Grader


def math_equal(
    example: Any, prediction: Any, trace: object = None, pred_name: object = None, pred_trace: object = None
) -> bool:
    """Whether the prediction's `answer` equals the example's as mathematics: 1/2, 0.5 and \\frac{1}{2} are one answer.

    A metric for `dspy.Evaluate` and DSPy's optimizers, GEPA's five arguments included; also takes two strings (and see
    `rf.BranchFeedback`). Safe in threads. What plain comparison
    cannot decide goes to worker processes with limits of time and memory; an answer that exceeds them is wrong.
    """
    expected, answer = _answer_of(example, "example"), _answer_of(prediction, "prediction")
    return expected is not None and answer is not None and _grader(os.getpid()).equal(answer, expected).correct


@lru_cache(maxsize=1)  # a metric is a plain function, so its worker processes have no other owner
def _grader(pid: int) -> Grader:
    """This process's workers; `pid` makes a forked child start its own."""
    grader = Grader()
    atexit.register(grader.close)
    return grader


def _answer_of(value: Any, what: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    found = value.get("answer") if isinstance(value, Mapping) else getattr(value, "answer", None)
    if found is None and not (isinstance(value, Mapping) and "answer" in value) and not hasattr(value, "answer"):
        raise InputError(
            f"math_equal needs a field 'answer'; the {what} has none",
            fix='name the output field answer ("problem -> answer"), or compare two strings with math_equal(a, b)',
        )
    return None if found is None else str(found)
