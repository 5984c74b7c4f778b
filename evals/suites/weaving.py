"""The table of a contest between threads and one sequence, in two parts.

`accuracy` runs everything side by side. `low_load` runs the first problems again, one at a time: it says how long
somebody waits who has the engine to themselves, and how much of every prompt the engine had already.
"""

from __future__ import annotations

import dspy

from reasonflow.evals.suites.contest import SEQUENTIAL, THREADED, Contest
from reasonflow.evals.suites.findings import Findings, Row
from reasonflow.evals.suites.low_load import at_low_load, median_s, on_gpu
from reasonflow.evals.suites.ratios import mean_ratio, ratio_of_totals
from reasonflow.evals.suites.side_by_side import accuracy
from reasonflow.evals.suites.suite import Setting

PARTS = ("accuracy", "low_load")
ALONE = 40
"""Problems at low load, at most: the first ones."""


async def weave(setting: Setting, lm: dspy.LM, contest: Contest) -> Findings:
    """Both parts, or those that the setting names. In turn: nothing else may run at low load."""
    makers = dict(zip(PARTS, (accuracy, low_load), strict=True))
    found = [await makers[part](setting, lm, contest) for part in PARTS if part in (setting.parts or PARTS)]
    return Findings(
        rows=tuple(row for part in found for row in part.rows),
        goals=(*contest.goals, *(goal for part in found for goal in part.goals)),
        breakdowns=tuple(breakdown for part in found for breakdown in part.breakdowns),
        more={name: value for part in found for name, value in part.more.items()},
    )


async def low_load(setting: Setting, lm: dspy.LM, contest: Contest) -> Findings:
    """Seconds of a run, and prompt tokens computed, with nothing else on the engine."""
    arms = {name: contest.way(name) for name in (SEQUENTIAL, THREADED)}
    pairs = await at_low_load(setting, lm, "low_load", arms, contest.problems[:ALONE], contest.judge)
    sequential_s = median_s([pair.baseline for pair in pairs])
    threaded_s = median_s([pair.ours for pair in pairs])
    computed = [(pair.ours.computed, pair.ours.ideal) for pair in pairs]
    above, below = (sum(column) for column in (zip(*computed, strict=True) if computed else ((), ())))
    return Findings(
        rows=(
            Row(
                task="low load",
                arm=f"{SEQUENTIAL} over {THREADED}, wall time",
                figure=contest.named("wall_ratio"),
                result=mean_ratio([(pair.baseline.wall_s, pair.ours.wall_s) for pair in pairs]),
                setting=f"{sequential_s or 0:.2f} s over {threaded_s or 0:.2f} s",
                problems=len(pairs),
            ),
            Row(
                task="low load",
                arm="prompt tokens computed over ideal",
                figure=contest.named("computed_over_ideal"),
                result=ratio_of_totals(computed),
                setting=f"{above:,} over {below:,}",
                problems=len(pairs),
            ),
        ),
        goals=contest.gpu_goals if on_gpu(pairs) else (),
        more={contest.named("sequential_s"): sequential_s, contest.named("threaded_s"): threaded_s},
    )
