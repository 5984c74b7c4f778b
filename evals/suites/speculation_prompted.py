"""The suite `speculation-prompted`: gates, planner and scaling of two models that were not trained for it.

It is of given problems, or of the default benchmark. Its figures begin with `prompted_`: they are of another kind than
those of the suite `speculation`.
"""

from __future__ import annotations

from dataclasses import replace

import dspy

from reasonflow.evals.benchmarks import DEFAULT, load
from reasonflow.evals.dataset import Problem
from reasonflow.evals.grading import Grader
from reasonflow.evals.suites import prompted_gate, prompted_planner, prompted_scaling
from reasonflow.evals.suites.closing import close
from reasonflow.evals.suites.findings import Findings
from reasonflow.evals.suites.prompted_agent import STEP_TOKENS
from reasonflow.evals.suites.prompted_small import drawn
from reasonflow.evals.suites.suite import Setting, Suite

GATE, PLANNER, SCALING = "gate", "planner", "scaling"
PARTS = (GATE, PLANNER, SCALING)
SMALL = "embedded-draft"


async def run(setting: Setting) -> Findings:
    """The table: of the given problems, or of the default benchmark. In turn: seconds are measured in places."""
    wanted = setting.parts or PARTS
    problems = asked(setting)
    small, large = opened(setting)
    found = []
    try:
        with Grader() as grader:  # answers of given problems may be any mathematics
            if GATE in wanted or PLANNER in wanted:
                samples = await drawn(setting, small, problems, grader)
            if GATE in wanted:
                found.append(await prompted_gate.measure(setting, samples))
            if PLANNER in wanted:
                task = prompted_planner.Task(problems, samples, small, large, grader)
                found.append(await prompted_planner.measure(setting, task))
            if SCALING in wanted:
                found.append(await prompted_scaling.measure(setting, problems, small, large, grader))
    finally:
        await close(small)
        await close(large)
    return Findings(
        rows=tuple(row for part in found for row in part.rows),
        goals=tuple(goal for part in found for goal in part.goals),
        breakdowns=tuple(breakdown for part in found for breakdown in part.breakdowns),
        more={name: value for part in found for name, value in part.more.items()},
    )


def asked(setting: Setting) -> list[Problem]:
    """The problems, whatever a row calls its text."""
    given = load(data=setting.data, limit=setting.limit) if setting.data else load(DEFAULT, limit=setting.limit)
    return [replace(problem, inputs={"problem": next(iter(problem.inputs.values()))}) for problem in given]


def opened(setting: Setting) -> tuple[dspy.LM, dspy.LM]:
    """The small and the large language model, greedy where no call says otherwise."""
    small, large = setting.open(setting.small or SMALL), setting.open(setting.model)
    return small.copy(temperature=0.0), large.copy(temperature=0.0, max_tokens=STEP_TOKENS)


SUITE = Suite(
    name="speculation-prompted",
    model="embedded",
    limit=600,
    run=run,
    parts=PARTS,
    takes_data=True,
    small=SMALL,
)
