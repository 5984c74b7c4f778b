"""The part `scaling` of the suite `speculation-prompted`: the small model drafts, and the measured one takes over.

Gates are calibrated on the first half of the problems; the contest is of the others.
"""

from __future__ import annotations

from collections.abc import Sequence

import dspy

from reasonflow.evals.dataset import Problem
from reasonflow.evals.grading import Grader
from reasonflow.evals.judging import by_answer
from reasonflow.evals.suites.findings import Findings
from reasonflow.evals.suites.scaling_contest import Contest, hold
from reasonflow.evals.suites.suite import Setting

INSTRUCTION = "Solve the problem step by step."
N, TURNS, CHUNK = 8, 8, 64
MOST = 40
"""Problems, at most: the first ones of the second half."""
CALIBRATION = 100
"""Problems to calibrate on, at most."""
GATES, LEAST, TAKEOVER = 3, 30, 0.4
"""As in the suite `speculation`."""


async def measure(
    setting: Setting, problems: Sequence[Problem], small: dspy.LM, large: dspy.LM, grader: Grader
) -> Findings:
    """Its rows and figures."""
    half = len(problems) // 2

    def right(problem: Problem, answer: str | None) -> bool:
        return grader.grade(problem, answer).correct

    contest = Contest(
        draft=small,
        target=large,
        problems=problems[half:][:MOST],
        others=problems[:half][:CALIBRATION],
        instruction=INSTRUCTION,
        n=N,
        turns=TURNS,
        chunk=CHUNK,
        calibration_turns=TURNS,
        gates=GATES,
        least=LEAST,
        takeover=TAKEOVER,
        prefix="prompted_",
        judge=by_answer(grader),
        right=right,
    )
    return await hold(setting, contest)
