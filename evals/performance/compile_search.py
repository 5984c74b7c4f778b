"""The search of `rf.compile` over a program's shape, against random search with as many calls and a grid by hand.

On problems of `graphmath`, with one engine. All arms meet the same problems with the same seeds, so the runs of a
setting are made once and shared, and every arm is charged for its own calls as if it were alone. Repeats differ in the
seed of the search.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal, TypeAlias

import anyio
import dspy

import reasonflow as rf
from reasonflow.errors import InputError
from reasonflow.evals.performance.conditions import start
from reasonflow.evals.performance.report import ENGINE_PACKAGES, UNKNOWN, Provenance, Report, Table, provenance
from reasonflow.evals.performance.shared_trials import SharedTrials
from reasonflow.evals.tasks.problems import examples, is_named
from reasonflow.optimizers.front import Front, Point
from reasonflow.optimizers.topology import racing
from reasonflow.optimizers.topology.hypervolume import Losses, hypervolume
from reasonflow.optimizers.topology.search import Cost, History, TopologySearch, Trial
from reasonflow.optimizers.topology.space import Settings, Space, current, shown, space_of, spell
from reasonflow.optimizers.topology.tuning import Tuning, point_of
from reasonflow.plan.budget import Budget

Arm: TypeAlias = Literal["search", "random", "raced"]
ARMS: tuple[Arm, ...] = ("search", "random", "raced")
"""Ours; settings drawn evenly, each measured whole; the same with our racing."""
MIX = "graphmath:breadth"
"""Many parts, of which one sample seldom has all: the built-in model is right in 25 % of samples at temperature 1 and
PDR in 78 %. On smaller problems with distractors one sample at temperature 0.3 was right in all of eight, and every
front was that one point."""
WIDTHS = ((1,), (2,), (2, 2), (4,), (4, 2), (4, 4), (8,), (8, 4), (8, 4, 2))
TEMPERATURES = (0.3, 0.6, 1.0)
"""The built-in model's own is 1."""
GRID: tuple[Mapping[str, Any], ...] = tuple(
    {"widths": widths, "distiller": distiller}
    for widths in ((1,), (2,), (4,), (8,), (4, 2), (8, 4))
    for distiller in ("summary", "top_k")
)
"""What a person would try: six shapes with two distillers each, everything else as it is."""


def searched_pdr() -> rf.PDR:
    """108 settings of PDR: nine shapes, four distillers, three temperatures."""
    return rf.PDR.searched(
        widths=rf.Choice((4, 2), options=WIDTHS),
        temperature=rf.Choice(1.0, options=TEMPERATURES),
        search=("widths", "distiller", "temperature"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What one arm came to with one seed."""

    arm: Arm
    seed: int
    front: Front
    calls: int
    tried: int
    whole: int
    """Settings measured on all problems."""
    stopped: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileSearch:
    """The fronts of all arms and seeds, the grid, and what all of them are on other problems."""

    found: tuple[Found, ...]
    grid: tuple[Point, ...]
    again: Mapping[str, Point]
    """Points of fronts on problems that no search has seen, by their settings; empty if not measured."""
    size: float
    """Of the space."""
    problems: int
    others: int
    budget: int
    seconds: float
    engine_calls: int
    benchmark: str
    provenance: Provenance = UNKNOWN

    @property
    def reference(self) -> Losses:
        """No right answer at all, with the tokens of the dearest setting that any arm, or the grid, measured whole."""
        points = [*self.grid, *(point for each in self.found for point in (*each.front.points, *each.front.beaten))]
        return 0.0, _log(max(p.sequential for p in points)), _log(max(p.total for p in points))

    def volume(self, points: Sequence[Point]) -> float:
        """The space that they dominate: accuracy × doublings of sequential tokens × doublings of total tokens."""
        return hypervolume(map(_losses, points), self.reference)

    def of(self, arm: Arm) -> list[Found]:
        """By seed."""
        return [each for each in self.found if each.arm == arm]

    def volumes(self, arm: Arm) -> list[float]:
        return [self.volume(each.front.points) for each in self.of(arm)]

    def volumes_again(self, arm: Arm) -> list[float]:
        """Of the same fronts, by what their settings are on the other problems."""
        return [self.volume([self.again[shown(p.settings)] for p in each.front.points]) for each in self.of(arm)]

    def dominating(self) -> list[int]:
        """By seed, how many points of the grid dominate a point of the search's front."""
        fronts = [each.front.points for each in self.of("search")]
        return [sum(any(grid.dominates(point) for point in front) for grid in self.grid) for front in fronts]

    def uncovered(self) -> list[int]:
        """By seed, how many points of the grid no point of the search's front equals or dominates."""
        fronts = [each.front.points for each in self.of("search")]
        return [sum(not any(_covers(point, grid) for point in front) for grid in self.grid) for front in fronts]

    def figures(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for other in ARMS[1:]:
            found |= _compared(f"hypervolume_over_{other}", self.volumes("search"), self.volumes(other))
        if self.again:
            for other in ARMS[1:]:
                ours, theirs = self.volumes_again("search"), self.volumes_again(other)
                found |= _compared(f"hypervolume_over_{other}_on_others", ours, theirs)
        found["grid_points_dominating"] = sum(self.dominating())
        found["grid_points_uncovered"] = round(fmean(self.uncovered()), 2)
        for arm in ARMS:
            found[f"{arm}_hypervolume"] = round(fmean(self.volumes(arm)), 4)
            found[f"{arm}_calls"] = round(fmean(each.calls for each in self.of(arm)))
            found[f"{arm}_settings"] = round(fmean(each.tried for each in self.of(arm)), 1)
        found["grid_hypervolume"] = round(self.volume(self.grid), 4)
        return {**found, "engine_calls": self.engine_calls, "seconds": round(self.seconds, 1)}

    def report(self) -> Report:
        accuracy, sequential, total = self.reference
        return Report(
            benchmark="compile",
            unit="hypervolume: accuracy × doublings of sequential × doublings of total tokens below the reference",
            figures=self.figures(),
            tables=(self._arms(), self._front()),
            repeats=len(self.of("search")),
            details={
                "benchmark_problems": self.benchmark,
                "problems": self.problems,
                "other_problems": self.others,
                "settings": self.size,
                "budget_calls": self.budget,
                "reference": {
                    "accuracy": accuracy,
                    "sequential": round(2**sequential),
                    "total": round(2**total),
                },
                "grid_points_dominating_by_seed": self.dominating(),
                "fronts": [
                    {
                        **{key: value for key, value in asdict(each).items() if key != "front"},
                        "hypervolume": round(self.volume(each.front.points), 4),
                        "front": [_brief(point) for point in each.front.points],
                    }
                    for each in self.found
                ],
                "grid": [_brief(point) for point in self.grid],
                "on_other_problems": {name: _brief(point) for name, point in self.again.items()},
            },
            notes=(
                "The runs of a setting are the same for every arm and seed: they were made on the engine once, and "
                "each arm was charged for its own calls as if it were alone.",
                "Intervals are Student's over the seeds of the search; the problems and the seeds of the runs are the "
                "same in all of them.",
                "A grid point counts as dominating where it is no worse than some point of the front in accuracy, "
                "sequential and total tokens and better in one, on the same problems and seeds; summed over the seeds.",
            ),
            provenance=self.provenance,
        )

    def _arms(self) -> Table:
        rows = list[tuple[str, ...]]()
        for arm in ARMS:
            volumes = self.volumes(arm)
            again = f"{fmean(self.volumes_again(arm)):.3f}" if self.again else "–"
            least = "–" if arm == "search" else _gain(self.volumes("search"), volumes)
            rows.append(
                (
                    arm,
                    f"{fmean(volumes):.3f}",
                    least,
                    again,
                    f"{fmean(each.calls for each in self.of(arm)):,.0f}",
                    f"{fmean(each.tried for each in self.of(arm)):.1f}",
                    f"{fmean(each.whole for each in self.of(arm)):.1f}",
                )
            )
        rows.append(("grid", f"{self.volume(self.grid):.3f}", "–", "–", "–", str(len(self.grid)), str(len(self.grid))))
        columns = ("arm", "hypervolume", "ours minus it", "other problems", "calls", "settings", "whole")
        title = (
            f"{self.size:,.0f} settings of PDR on {self.problems} problems of {self.benchmark}, {self.budget:,} calls"
        )
        return Table(title=title, columns=columns, rows=tuple(rows))

    def _front(self) -> Table:
        rows = tuple(
            (
                shown(point.settings),
                f"{100 * point.accuracy:.0f}",
                f"{100 * self.again[shown(point.settings)].accuracy:.0f}" if self.again else "–",
                f"{point.sequential:,.0f}",
                f"{point.total:,.0f}",
            )
            for point in self.of("search")[0].front.points
        )
        columns = ("front of the first seed", "% right", "others", "sequential", "total")
        return Table(title="", columns=columns, rows=rows)


_DRAWN = 256
"""More settings than a search can try."""


class RandomSearch(TopologySearch):
    """Settings drawn evenly, none twice."""

    def ask(
        self, history: History, allowed: Callable[[Settings], bool], cost: Cost = lambda settings: 1.0
    ) -> Trial | None:
        tried = {spell(told.trial.settings) for told in history}
        drawn = (*self.sample(_DRAWN), *self._listed(len(history)))
        found = next((one for one in drawn if spell(one) not in tried and allowed(one)), None)
        return None if found is None else Trial(len(history), found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much is measured."""

    problems: int = 16
    others: int = 12
    """Problems for what the fronts are worth, which no search has seen; 0: not measured."""
    calls: int = 1000
    """Budget of each search."""
    seeds: int = 5
    """Searches of each kind."""


def measure_compile(
    lm: dspy.LM,
    sizes: Sizes,
    *,
    benchmark: str | None = None,
    program: rf.Program | None = None,
    grid: Sequence[Mapping[str, Any]] = GRID,
    out: Path | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> CompileSearch:
    """Search with all arms.

    benchmark: a mix of `graphmath`; None: `MIX`. program: with its knobs open, set to where a search begins; None: PDR.
    out: a folder that keeps all calls: the same call goes on there where it was stopped. say: told what came of each
        search.
    Raises InputError for a benchmark that is no mix, or names a split, and for a folder of another measurement.
    """
    name = benchmark or MIX
    if not is_named(name) or "split=" in name:
        raise InputError(f"{name!r} is no mix of graphmath to search on", fix=f"graphmath:noise, or {MIX}")
    joined = f"{name}," if ":" in name else f"{name}:mid,"
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    start(lm)
    measuring = _Measuring(
        program=program or searched_pdr(),
        examples=examples(f"{joined}split=train", size=sizes.problems),
        others=examples(f"{joined}split=test", size=sizes.others),
        lm=lm,
        sizes=sizes,
        benchmark=name,
        grid=grid,
        out=out,
        say=say,
    )
    return anyio.run(measuring.run)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measuring:
    program: rf.Program
    examples: Sequence[dspy.Example]
    others: Sequence[dspy.Example]
    lm: dspy.LM
    sizes: Sizes
    benchmark: str
    grid: Sequence[Mapping[str, Any]]
    out: Path | None
    say: Callable[[str], None]
    most_calls: dict[str, int | None] = field(default_factory=dict)

    async def run(self) -> CompileSearch:
        began, space = time.perf_counter(), space_of(self.program)
        with dspy.context(lm=self.lm):
            trials = self._shared(space, self.examples, "searched")
            found = [await self._search(trials, arm, seed) for seed in range(self.sizes.seeds) for arm in ARMS]
            begin = current(self.program, space)
            grid = [await self._point(trials, {**begin, **settings}) for settings in self.grid]
            again, spent = {}, trials.spent.calls
            if self.others:
                unseen = self._shared(space, self.others, "others")
                fronts = {shown(p.settings): p.settings for each in found for p in each.front.points}
                self.say(f"{len(fronts)} settings of fronts on {len(self.others)} other problems ...")
                again = {name: await self._point(unseen, settings) for name, settings in fronts.items()}
                spent += unseen.spent.calls
        return CompileSearch(
            found=tuple(found),
            grid=tuple(grid),
            again=again,
            size=space.size,
            problems=len(self.examples),
            others=len(self.others),
            budget=self.sizes.calls,
            seconds=time.perf_counter() - began,
            engine_calls=spent,
            benchmark=self.benchmark,
            provenance=provenance((*ENGINE_PACKAGES, "optuna", "math-verify"), self.lm),
        )

    def _shared(self, space: Space, examples: Sequence[dspy.Example], name: str) -> SharedTrials:
        file = None if self.out is None else self.out / f"{name}.sqlite"
        return SharedTrials(self.program, space, examples, rf.math_equal, self.lm, seed=0, file=file)

    async def _search(self, trials: SharedTrials, arm: Arm, seed: int) -> Found:
        runs = trials.charged(Budget(calls=self.sizes.calls))
        first = [current(self.program, trials.space)]
        search = (
            TopologySearch(trials.space, seed=seed, first=first)
            if arm == "search"
            else RandomSearch(trials.space, seed=seed)
        )
        alpha = 0.0 if arm == "random" else racing.ALPHA
        tuning = Tuning(self.program, search, runs, trusted=True, on_step=lambda step: None, alpha=alpha)
        tuning.calls_known = self.most_calls
        stopped = await tuning.run()
        found = Found(
            arm=arm,
            seed=seed,
            front=tuning.front(),
            calls=runs.ledger.spent.calls,
            tried=len(tuning.history),
            whole=len(tuning.whole),
            stopped=stopped,
        )
        self.say(
            f"{arm}, seed {seed}: {found.tried} settings for {found.calls:,} calls, {found.whole} of them whole, "
            f"{len(found.front.points)} on the front; {trials.spent.calls:,} calls on the engine so far"
        )
        return found

    async def _point(self, trials: SharedTrials, settings: Settings) -> Point:
        outcomes = await trials.outcomes(settings, range(len(trials.runs.examples)))
        rows = [racing.Row(each.result.score, each.result.sequential, each.result.total) for each in outcomes]
        return point_of(0, settings, rows)


def _losses(point: Point) -> Losses:
    return -point.accuracy, _log(point.sequential), _log(point.total)


def _log(tokens: float) -> float:
    return math.log2(1 + tokens)


def _covers(point: Point, other: Point) -> bool:
    return point.dominates(other) or _losses(point) == _losses(other)


def _compared(name: str, ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    value, low, high = paired(ours, theirs)
    return {name: round(value, 4), f"{name}_low": round(low, 4), f"{name}_high": round(high, 4)}


def _gain(ours: Sequence[float], theirs: Sequence[float]) -> str:
    value, low, high = paired(ours, theirs)
    return f"{value:+.3f} ({low:+.3f} to {high:+.3f})"


def paired(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float, float]:
    """The mean difference and its 95 % interval, Student's; without end for a single pair."""
    differences = [mine - yours for mine, yours in zip(ours, theirs, strict=True)]
    mean = fmean(differences)
    if len(differences) < 2:
        return mean, -math.inf, math.inf
    half = racing.t_quantile(0.975, len(differences) - 1) * stdev(differences) / math.sqrt(len(differences))
    return mean, mean - half, mean + half


def _brief(point: Point) -> dict[str, Any]:
    return {
        "settings": dict(point.settings),
        "accuracy": round(point.accuracy, 4),
        "sequential": round(point.sequential, 1),
        "total": round(point.total, 1),
    }
