"""The suite `threads-prompted`: threads of a model that is not trained to write them, and is told by a prompt.

Its figures begin with `prompted_` and are held to no goal: they are of another kind than a trained model's.
"""

from __future__ import annotations

from reasonflow.evals.benchmarks import DEFAULT, load
from reasonflow.evals.grading import Grader
from reasonflow.evals.judging import by_answer
from reasonflow.evals.suites.closing import close
from reasonflow.evals.suites.contest import Contest
from reasonflow.evals.suites.findings import Findings
from reasonflow.evals.suites.suite import Setting, Suite
from reasonflow.evals.suites.weaving import PARTS, weave

MAX_TOKENS = 4096
"""Of a call: room for a thinking model's solution of a school problem."""


async def run(setting: Setting) -> Findings:
    """The table: of the given problems, or of the default benchmark."""
    data = setting.data
    problems = load(data=data, limit=setting.limit) if data else load(DEFAULT, limit=setting.limit)
    lm = setting.open(setting.model)
    with Grader() as grader:  # answers of given problems may be any mathematics
        contest = Contest(
            task=data.stem if data else DEFAULT.rpartition(":")[2],
            problems=problems,
            max_tokens=MAX_TOKENS,
            prompted=True,
            judge=by_answer(grader),
        )
        found = await weave(setting, lm, contest)
    await close(lm)
    return found


SUITE = Suite(name="threads-prompted", model="embedded", limit=200, run=run, parts=PARTS, takes_data=True)
