"""Who says what an answer is worth: comparing it with the gold answer, or a metric of DSPy's form."""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import anyio.to_thread
import dspy

from reasonflow.errors import EngineDead, EngineStartError, InputError, ProgramError
from reasonflow.evals.dataset import Problem
from reasonflow.evals.grading import Grader

STOPPING = (EngineDead, EngineStartError, ProgramError, InputError)
"""Errors that every further call would repeat. All others cost the sample they happen in."""

Metric: TypeAlias = Callable[..., Any]
"""`metric(example, prediction)`, sync or async: True or False, a number, or a prediction with a `score`."""

FAILED = "the metric failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a prediction is worth."""

    correct: bool
    score: float | None = None
    """A metric's number; None where answers are compared."""
    reason: str = ""
    """Why it is wrong where that is not the answer's value."""


Judge: TypeAlias = Callable[[Problem, Any], Awaitable[Verdict]]
"""Of a problem and what the program gave for it. What it raises ends the evaluation."""


def by_answer(grader: Grader) -> Judge:
    """Compares the field of the answer with the problem's. Raises ProgramError for a prediction that has none."""

    async def judge(problem: Problem, prediction: Any) -> Verdict:
        # In a thread: a comparison may take its whole time limit.
        grade = await anyio.to_thread.run_sync(grader.grade, problem, required_answer(prediction, problem.output))
        return Verdict(correct=grade.correct, reason=grade.reason)

    return judge


def by_metric(metric: Metric, examples: Mapping[str, dspy.Example]) -> Judge:
    """Asks a DSPy metric. examples: by the id of their problem.

    A metric that raises gives 0, as in `dspy.Evaluate`; errors that would repeat are passed on.
    """

    async def judge(problem: Problem, prediction: Any) -> Verdict:
        try:
            score = _number(await _ask(metric, examples[problem.id], prediction))
        except Exception as error:  # a metric may raise anything
            if repeats(error):
                raise
            return Verdict(correct=False, score=0.0, reason=f"{FAILED}: {type(error).__name__}: {error}")
        return Verdict(correct=score >= 1.0, score=score)

    return judge


def required_answer(prediction: Any, field: str = "answer") -> str | None:
    """The answer field. Raises ProgramError where the program has none: its answers cannot be compared then."""
    if field not in prediction:
        raise ProgramError(
            f"the program's result has no field {field!r}",
            why=f"it has {', '.join(prediction.keys()) or 'none'}",
            fix=f'end its signature in {field}: "problem -> {field}"',
        )
    return recorded_answer(prediction, field)


def recorded_answer(prediction: Any, field: str = "answer") -> str | None:
    """The answer field as text, a list or an object as JSON; None where there is none."""
    value = prediction.get(field) if hasattr(prediction, "get") else None
    if isinstance(value, (list, dict)):
        return json.dumps(value, ensure_ascii=False, default=str)
    return None if value is None else str(value)


def repeats(error: BaseException) -> bool:
    """Whether every further call would end in the same error: it or what caused it is one of `STOPPING`."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, STOPPING) or (isinstance(seen, BaseExceptionGroup) and any(map(repeats, seen.exceptions))):
            return True
        seen = seen.__cause__
    return False


async def _ask(metric: Metric, example: dspy.Example, prediction: Any) -> Any:
    if inspect.iscoroutinefunction(metric) or inspect.iscoroutinefunction(getattr(metric, "__call__", None)):  # noqa: B004
        return await metric(example, prediction)
    # In a thread: it may compute, ask another model or wait. Its context, DSPy's settings among it, goes along.
    found = await anyio.to_thread.run_sync(metric, example, prediction)
    return await found if inspect.isawaitable(found) else found


def _number(value: Any) -> float:
    """True, 0.5 or a prediction with a score, as a number. Raises InputError for anything else: the metric is wrong."""
    if hasattr(value, "__float__"):
        return float(value)
    raise InputError(
        f"the metric gave {value!r}", why="a metric says how good a prediction is", fix="return a bool or a number"
    )
