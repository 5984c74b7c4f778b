"""How well the model's own Yes tells its right solutions from its wrong ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import dspy

from reasonflow.evals.dataset import Problem
from reasonflow.evals.judging import Verdict
from reasonflow.evals.samples import Sample
from reasonflow.evals.suites.arms import Arm, run_arm, solution_of
from reasonflow.evals.suites.calls import Call
from reasonflow.evals.suites.findings import Row
from reasonflow.evals.suites.ranking import area_under_roc
from reasonflow.evals.suites.suite import Setting
from reasonflow.evals.tasks.reading import final_answer
from reasonflow.programs.verifiers import YesProbability

YES, NO = "Yes", "No"


async def judged(setting: Setting, lm: dspy.LM, solved: Iterable[tuple[str, Arm]]) -> list[Row]:
    """The area under the ROC curve, over all and for each task alone. solved: tasks and what solved them.

    One solution of each problem is judged, the first of its run. Tasks differ in how often they are solved: over all of
    them a judge may gain by knowing the task, which each one's own area does not have.
    """
    candidates = {task: [candidate(p, calls[0]) for p, _, calls in arm.runs() if calls] for task, arm in solved}
    problems = [problem for some in candidates.values() for problem in some]
    if not problems:
        return [_row("verdict", [])]
    arm = await run_arm(setting, lm, "verdict", YesProbability(), problems, judge=by_probability)
    scored = list(zip(problems, arm.samples, strict=True))
    rows = [
        replace(
            _row("verdict", scored),
            total_tokens=arm.total_tokens,
            sequential_tokens=arm.sequential_tokens,
        )
    ]
    for task, some in candidates.items():
        ids = {problem.id for problem in some}
        rows.append(_row(f"verdict {task}", [pair for pair in scored if pair[0].id in ids]))
    return rows


def candidate(problem: Problem, call: Call) -> Problem:
    """The question whether a solution is right; its answer is by the number in the solution's box."""
    text = solution_of(call)
    return replace(
        problem,
        inputs={**problem.inputs, "candidate": text},
        answer=YES if str(final_answer(text)) == problem.answer else NO,
    )


async def by_probability(problem: Problem, prediction: Any) -> Verdict:
    """Keeps the probability of Yes as the score. It is right where the likelier word is."""
    score = float(prediction.score)
    return Verdict(correct=(score >= 0.5) == (problem.answer == YES), score=score)


def _row(task: str, scored: list[tuple[Problem, Sample]]) -> Row:
    """The area under one curve. A call that failed gave no score."""
    known = [(problem.answer, sample.score) for problem, sample in scored if sample.score is not None]
    right = [score for answer, score in known if answer == YES]
    wrong = [score for answer, score in known if answer == NO]
    return Row(
        task=task,
        arm="area under ROC",
        figure="_".join([*task.split(), "auc"]),
        result=area_under_roc(right, wrong) if right and wrong else None,
        setting=f"{len(right)} right, {len(wrong)} wrong",
        problems=len(right) + len(wrong),
    )
