"""The suite `embedded`: what the built-in model and its twin can do, and what the programs add to it.

The family `graphmath` is what the model was trained on, in other problems than these. The figures say how programs
behave on a model that can do its task; they say nothing about other tasks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import partial

import reasonflow as rf
from reasonflow.evals.benchmarks import load
from reasonflow.evals.dataset import Problem
from reasonflow.evals.suites.arms import Arm, accuracy_of, run_arm
from reasonflow.evals.suites.closing import close
from reasonflow.evals.suites.drafts import by_right_drafts, copying, share
from reasonflow.evals.suites.findings import Breakdown, Findings, Goal, Row
from reasonflow.evals.suites.regimes import Found, Regime, compare
from reasonflow.evals.suites.suite import Setting, Suite
from reasonflow.evals.suites.together import together
from reasonflow.evals.suites.verdicts import judged
from reasonflow.evals.tasks.graph import Graph
from reasonflow.evals.tasks.problems import item_at

TWIN = "embedded-draft"
MAX_TOKENS = 768
"""Of a call: no solution of these problems is longer."""
REGIMES = {
    # The one with the longest chain of rounds comes first: what waits for it is the end of the suite.
    "breadth": Regime(widths=(4,), max_tokens=MAX_TOKENS, best_of=True),
    "noise": Regime(widths=(4,), max_tokens=MAX_TOKENS),
    # A solution does not fit one call: only what reads earlier ones can get further.
    "length": Regime(widths=(6,), max_tokens=168),
}
GOALS = (
    Goal(figure="sequential_accuracy", least=0.90),
    Goal(figure="single_noise", least=0.40, most=0.70),
    Goal(figure="pdr_minus_vote_noise", least=-0.03),
    Goal(figure="single_breadth", least=0.05, most=0.25),
    Goal(figure="pdr_minus_vote_breadth", least=0.10),
    Goal(figure="best_of_minus_vote_breadth", above=0.0),
    Goal(figure="pdr_minus_vote_length", least=0.30),
    Goal(figure="sr_minus_vote_length", least=0.30),
    Goal(figure="verdict_auc", least=0.90),
    Goal(figure="twin_accuracy_1_2", least=0.80),
)


PARTS = ("twin", "mid", *REGIMES)


async def run(setting: Setting) -> Findings:
    """The table. The twin comes first and leaves its engine's memory to the model."""
    wanted = setting.parts or PARTS
    one_go = rf.ChainOfThought(config={"max_tokens": MAX_TOKENS})
    greedy = rf.ChainOfThought(config={"max_tokens": MAX_TOKENS, "temperature": 0.0})
    rows: list[Row] = []
    breakdowns: list[Breakdown] = []
    if "twin" in wanted:
        twin = setting.open(TWIN)
        direct = await run_arm(setting, twin, "twin/direct", greedy, problems_of("direct", setting.limit))
        await close(twin)
        breakdowns.append(_by_operations(direct))
    lm = setting.open(setting.model)
    if "mid" in wanted:
        problems = problems_of("mid", setting.limit)
        mid, likeliest = await together(
            partial(run_arm, setting, lm, "mid/sequential", one_go, problems),
            partial(run_arm, setting, lm, "mid/greedy", greedy, problems),
        )
        rows.append(_row("mid", "greedy", "sequential_accuracy", likeliest))
        rows.append(_row("mid", "one sample", "sampled_accuracy", mid))
    regimes = [name for name in REGIMES if name in wanted]
    compared = await together(
        *(partial(compare, setting, lm, name, REGIMES[name], problems_of(name, setting.limit)) for name in regimes)
    )
    found = dict(zip(regimes, compared, strict=True))
    rows += [row for each in found.values() for row in each.rows]
    if "mid" in wanted and "breadth" in wanted:
        rows += await judged(setting, lm, [("mid", mid), ("breadth", found["breadth"].pdr)])
    await close(lm)
    if "twin" in wanted:
        rows.append(_twin_row(direct))
    return Findings(
        rows=tuple(rows),
        goals=GOALS,
        breakdowns=(*(_refinement(found) if found else ()), *breakdowns),
        more={f"copy_rate_{name}": copying(each.pdr)["copied"].value for name, each in found.items()},
    )


SUITE = Suite(name="embedded", model="embedded", limit=1_000, run=run, parts=PARTS)


def problems_of(mix: str, limit: int) -> list[Problem]:
    """The first problems of a mix, which no training has seen."""
    return load(f"graphmath:{mix}", limit=limit)


def _row(task: str, arm: str, figure: str, found: Arm, verdicts: Sequence[Sequence[float]] | None = None) -> Row:
    """An arm that is compared with none. verdicts: of some of its problems, in place of all."""
    counted = found.verdicts if verdicts is None else verdicts
    return Row(
        task=task,
        arm=arm,
        figure=figure,
        result=accuracy_of(counted),
        problems=len(counted),
        total_tokens=found.total_tokens,
        sequential_tokens=found.sequential_tokens,
    )


def _twin_row(found: Arm) -> Row:
    few = [[float(right)] for count in (1, 2) for right in _counted(found)[count]]
    return _row("direct", "twin, 1 or 2 operations", "twin_accuracy_1_2", found, few)


def _by_operations(found: Arm) -> Breakdown:
    counted = _counted(found)
    rows = tuple({"operations": count, "accuracy": share(counted[count])} for count in sorted(counted))
    return Breakdown("twin_by_operations", "The twin, by operations", rows)


def _counted(found: Arm) -> defaultdict[int, list[bool]]:
    """Right or wrong, by the number of operations that an answer takes."""
    verdicts: defaultdict[int, list[bool]] = defaultdict(list)
    for problem, sample, _ in found.runs():
        verdicts[operations(problem)].append(sample.correct)
    return verdicts


def operations(problem: Problem) -> int:
    """How many sums, differences, products and quotients lead to the answer."""
    graph = item_at(problem.id).content
    assert isinstance(graph, Graph), "the mix is of graphs"
    return sum(bool(quantity.sign) for quantity in graph.needed)


def _refinement(found: dict[str, Found]) -> tuple[Breakdown, Breakdown]:
    right = tuple(
        {"regime": name, **by_right_drafts(each.pdr, REGIMES[name].widths[-1])} for name, each in found.items()
    )
    copies = tuple({"regime": name, **copying(each.pdr)} for name, each in found.items())
    return (
        Breakdown("pdr_by_right_drafts", "PDR's accuracy by right drafts in its last round", right),
        Breakdown("copying", "PDR's answers: one of its last drafts', or a new one; shares of all runs", copies),
    )
