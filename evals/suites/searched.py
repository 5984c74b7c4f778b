"""Searching with several queries a turn against one query a turn: the same problems, index and seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import dspy

from reasonflow.evals.dataset import Problem
from reasonflow.evals.judging import Judge
from reasonflow.evals.qa.search import Search
from reasonflow.evals.samples import Key, Sample
from reasonflow.evals.searching import SearchLines
from reasonflow.evals.statistics import paired_difference
from reasonflow.evals.suites.arms import Arm, Way, accuracy_of, exact, mean, run_arm
from reasonflow.evals.suites.findings import Findings, Goal, Row
from reasonflow.evals.suites.low_load import at_low_load, median_s
from reasonflow.evals.suites.ratios import mean_ratio
from reasonflow.evals.suites.suite import Setting
from reasonflow.evals.suites.together import together
from reasonflow.programs.hybrid_search import HybridSearch, Shown
from reasonflow.programs.retrieval.bm25 import BM25

PARALLEL, SEQUENTIAL = "parallel", "sequential"
PARTS = ("answers", "low_load")
ALONE = 20
"""Problems at low load, at most: the first ones."""
TURNS = 16
"""Of a run, in both arms: no problem takes so many with one query a turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hunt:
    """What is searched for, and in what."""

    task: str
    problems: Sequence[Problem]
    index: BM25
    max_tokens: int
    """Of a call of the searching model."""
    score: Callable[[Problem, str | None], float] | None = None
    """Of an answer, 0 to 1; None: whether it is right."""
    judge: Judge = exact
    prompted: bool = False
    """Whether worked examples stand in front, for a model that is not trained to search."""
    shown: Shown = "released"
    """What whoever reads pages sees of the queries of a turn: see `HybridSearch`."""
    goals: tuple[Goal, ...] = ()

    def way(self, arm: str) -> Way:
        """The program of that arm."""
        settings: dict[str, Any] = {
            "signature": f"{', '.join(self.problems[0].inputs)} -> answer",
            "turns": TURNS,
            "sequential": arm == SEQUENTIAL,
            "prompted": self.prompted,
            "shown": self.shown,
            "config": {"max_tokens": self.max_tokens},
        }
        program = HybridSearch(retriever=self.index, **settings)
        return Way(program, {**settings, "corpus": self.index.digest})


async def measure(setting: Setting, lm: dspy.LM, hunt: Hunt) -> Findings:
    """Both parts, or those that the setting names. In turn: nothing else may run at low load."""
    makers = dict(zip(PARTS, (_answers, _low_load), strict=True))
    found = [await makers[part](setting, lm, hunt) for part in PARTS if part in (setting.parts or PARTS)]
    return Findings(
        rows=tuple(row for part in found for row in part.rows),
        goals=hunt.goals,
        more={name: value for part in found for name, value in part.more.items()},
    )


@dataclass(frozen=True, slots=True)
class _Run:
    arm: Arm
    searches: Mapping[Key, Search]
    """Of runs that did not fail."""

    def scores(self, hunt: Hunt) -> list[list[float]]:
        """(problems, 1). A run that failed, or never searched, is worth nothing."""
        return [[self._score(hunt, *pair)] for pair in zip(hunt.problems, self.arm.samples, strict=True)]

    def _score(self, hunt: Hunt, problem: Problem, sample: Sample) -> float:
        if not self.searched(sample):
            return 0.0
        return float(sample.correct) if hunt.score is None else hunt.score(problem, sample.answer)

    def searched(self, sample: Sample) -> bool:
        """Whether the run asked for anything, in a block that could be read."""
        return bool(sample.key in self.searches and self.searches[sample.key].calls)

    def turns(self, sample: Sample) -> int:
        """How often the model wrote; 0 for a run that failed or never searched."""
        return len(self.searches[sample.key].turns) if self.searched(sample) else 0


async def _answers(setting: Setting, lm: dspy.LM, hunt: Hunt) -> Findings:
    found = await together(*(partial(_run, setting, lm, hunt, arm) for arm in (PARALLEL, SEQUENTIAL)))
    by_arm = dict(zip((PARALLEL, SEQUENTIAL), found, strict=True))
    scores = {arm: run.scores(hunt) for arm, run in by_arm.items()}
    pairs = [
        (by_arm[PARALLEL].turns(one), by_arm[SEQUENTIAL].turns(other))
        for one, other in zip(by_arm[PARALLEL].arm.samples, by_arm[SEQUENTIAL].arm.samples, strict=True)
    ]
    both = [pair for pair in pairs if all(pair)]
    what = "accuracy" if hunt.score is None else "f1"
    more: dict[str, float | None] = {}
    for arm, run in by_arm.items():
        searched = [sample for sample in run.arm.samples if run.searched(sample)]
        more |= {
            f"{arm}_turns": mean([float(run.turns(sample)) for sample in searched]),
            f"{arm}_calls": mean([float(run.searches[sample.key].calls) for sample in searched]),
            f"{arm}_token_latency": mean([float(s.token_latency) for s in searched if s.token_latency is not None]),
        }
    return Findings(
        rows=(
            *(
                Row(
                    task=hunt.task,
                    arm=arm,
                    figure=f"{arm}_{what}",
                    result=accuracy_of(scores[arm]),
                    setting=f"{more[f'{arm}_turns'] or 0:.2f} turns, {more[f'{arm}_calls'] or 0:.2f} queries",
                    against=SEQUENTIAL if arm == PARALLEL else "",
                    difference=paired_difference(scores[PARALLEL], scores[SEQUENTIAL]) if arm == PARALLEL else None,
                    problems=len(scores[arm]),
                    total_tokens=run.arm.total_tokens,
                    sequential_tokens=run.arm.sequential_tokens,
                )
                for arm, run in by_arm.items()
            ),
            *(
                Row(
                    task="searched at all",
                    arm=arm,
                    figure=f"{arm}_query_rate",
                    result=accuracy_of([[float(run.searched(sample))] for sample in run.arm.samples]),
                    problems=len(run.arm.samples),
                )
                for arm, run in by_arm.items()
            ),
            Row(
                task="turns",
                arm=f"{PARALLEL} over {SEQUENTIAL}",
                figure="turns_ratio",
                result=mean_ratio([(float(one), float(other)) for one, other in both]),
                problems=len(both),
            ),
        ),
        more=more,
    )


async def _run(setting: Setting, lm: dspy.LM, hunt: Hunt, arm: str) -> _Run:
    """One arm, or what is left of it to do."""
    folder, made = f"{PARTS[0]}/{arm}", hunt.way(arm)
    with SearchLines(setting.out / folder) as lines:
        found = await run_arm(
            setting, lm, folder, made.program, hunt.problems,
            judge=hunt.judge, settings=made.settings, on_prediction=lines.ended,
        )  # fmt: skip
        return _Run(found, lines.found)


async def _low_load(setting: Setting, lm: dspy.LM, hunt: Hunt) -> Findings:
    """Seconds of a run with nothing else on the engine."""
    arms = {arm: hunt.way(arm) for arm in (SEQUENTIAL, PARALLEL)}
    pairs = await at_low_load(setting, lm, PARTS[1], arms, hunt.problems[:ALONE], hunt.judge)
    seconds = {
        SEQUENTIAL: median_s([pair.baseline for pair in pairs]),
        PARALLEL: median_s([pair.ours for pair in pairs]),
    }
    return Findings(
        rows=(
            Row(
                task="low load",
                arm=f"{SEQUENTIAL} over {PARALLEL}, wall time",
                figure="wall_ratio",
                result=mean_ratio([(pair.baseline.wall_s, pair.ours.wall_s) for pair in pairs]),
                setting=f"{seconds[SEQUENTIAL] or 0:.2f} s over {seconds[PARALLEL] or 0:.2f} s",
                problems=len(pairs),
            ),
        ),
        more={f"{arm}_s": value for arm, value in seconds.items()},
    )
