"""What an evaluation will take before it runs: `reasonflow eval --dry-run`.

Without a record of earlier runs there are only the ends that the plan makes possible. What a folder holds, from an
earlier session or from a pilot, gives the likely value and its 95 % interval.
"""

from __future__ import annotations

import json
import math
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import NormalDist
from typing import Any

import dspy

from reasonflow.errors import InputError
from reasonflow.evals.dataset import Problem
from reasonflow.evals.estimate_error import FILE, identity
from reasonflow.evals.manifest import FILE as MANIFEST
from reasonflow.evals.manifest import Manifest, describe, differences
from reasonflow.evals.runner import limited
from reasonflow.evals.samples import FILE as SAMPLES
from reasonflow.evals.samples import Sample, read_samples
from reasonflow.evals.statistics import CONFIDENCE, bootstrap
from reasonflow.language.program import Program
from reasonflow.plan.budget import Budget
from reasonflow.runtime.engines import price_behind
from reasonflow.runtime.estimate import Estimate, Interval
from reasonflow.runtime.price import FREE_OF_CHARGE, Price

_TOKENS = ("calls", "input_tokens", "output_tokens", "total_tokens", "sequential_tokens")
_FEWEST = 3
"""Problems from which on their spread says something: of two the quantile is thirteen standard errors."""
_OF_OTHERS = ("problems", "problems_digest", "benchmark", "samples", "seed")
"""Of a manifest: may differ between an evaluation and another that tells how long its runs will be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """An estimate of a whole evaluation."""

    request: Mapping[str, Any]
    """Exactly what will be asked."""
    estimate: Estimate
    manifest: Manifest
    price: Price
    done: int
    """Runs that the folder already has."""
    mine: bool
    """Whether the folder is, or can become, the one of this very evaluation; its runs are of other problems if not."""

    def lines(self) -> list[str]:
        """The request in words."""
        asked = self.request
        settings = ", ".join(f"{name}={value}" for name, value in asked["settings"].items()) or "its own settings"
        sampling = ", ".join(f"{name}={value}" for name, value in asked["sampling"].items()) or "the engine's defaults"
        return [
            f"program   {asked['program']}, {settings}",
            f"problems  {asked['problems']} of {asked['benchmark'] or 'the given ones'}",
            f"samples   {asked['samples']} of each, {asked['runs']} runs, seed {asked['seed']}; {self._so_far()}",
            f"model     {asked['model']}; sampling: {sampling}",
            f"budgets   of each run: {asked['budget'] or 'none'}; of all runs: {asked['overall_budget'] or 'none'}",
        ]

    def to_json(self) -> dict[str, Any]:
        """Request and figures, in JSON's types."""
        figures = self.estimate.to_json()
        del figures["each"]
        return {"request": dict(self.request), "done": self.done, **figures}

    def write(self, folder: Path) -> Path:
        """Leave the estimate in the folder, where the evaluation's report finds it; the path."""
        folder.mkdir(parents=True, exist_ok=True)
        found = {"estimate": self.to_json(), "price": asdict(self.price), "evaluation": identity(self.manifest)}
        path = folder / FILE
        path.write_text(json.dumps(found, indent=2, ensure_ascii=False, default=str) + "\n", encoding="utf-8")
        return path

    def _so_far(self) -> str:
        return "nothing has run" if not self.done else f"{self.done} of them have run"


def dry_run(
    program: dspy.Module,
    problems: Sequence[Problem],
    *,
    lm: dspy.LM,
    name: str = "",
    samples: int = 1,
    seed: int = 0,
    folder: Path | None = None,
    budget: Budget | None = None,
    overall_budget: Budget | None = None,
    benchmark: str = "",
    settings: Mapping[str, Any] | None = None,
) -> DryRun:
    """What `runner.evaluate` with the same arguments will take. Nothing runs and no engine starts.

    folder: where the evaluation is or will be; what is recorded there tells how long runs are. name: of the program, as
    people know it. Raises InputError for a program without a plan, and for a folder of another program, model or
    sampling.
    """
    if not isinstance(program, Program):
        raise InputError(
            f"{type(program).__name__} cannot be estimated",
            why="a plain DSPy module calls its model as it goes: nothing says how often",
            fix="make it a reasonflow.Program, or measure a few runs",
        )
    made = limited(program, budget, overall_budget)
    own = made.budget or Budget()
    manifest = describe(
        made, problems, lm=lm, samples=samples, seed=seed, benchmark=benchmark, settings=settings, budget=own
    )
    kept, mine = _kept(folder, manifest)
    history = [folder] if folder is not None and any(sample.calls is not None for sample in kept) else None
    with dspy.context(lm=lm):
        found = made.estimate([dict(problem.inputs) for problem in problems], samples=samples, history=history)
    price = price_behind(lm) if found.dollars is not None else FREE_OF_CHARGE
    ids = {problem.id for problem in problems}
    done = [sample for sample in kept if mine and sample.id in ids]
    found = _extrapolated(found, kept, done, len(problems) * samples, price)
    if overall_budget is not None:
        found = _capped(found, overall_budget)
    request = {
        "program": name or type(program).__name__,
        "settings": dict(settings or {}),
        "benchmark": benchmark,
        "problems": len(problems),
        "samples": samples,
        "runs": len(problems) * samples,
        "seed": seed,
        "model": lm.model,
        "sampling": {name: value for name, value in manifest["sampling"].items() if value is not None},
        "budget": str(own) if own.limits else None,
        "overall_budget": None if overall_budget is None else str(overall_budget),
    }
    return DryRun(request=request, estimate=found, manifest=manifest, price=price, done=len(done), mine=mine)


def pilot_of(problems: Sequence[Problem], count: int, seed: int) -> list[str]:
    """Ids of `count` problems, drawn by the seed: the first ones are often the easy ones."""
    ids = [problem.id for problem in problems]
    return sorted(random.Random(f"pilot {seed}").sample(ids, min(count, len(ids))), key=ids.index)


def _kept(folder: Path | None, manifest: Manifest) -> tuple[list[Sample], bool]:
    """The samples a folder holds, and whether they are of this very evaluation."""
    if folder is None or not (folder / MANIFEST).exists():
        return [], True
    try:
        before = identity(json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
    except ValueError as error:
        raise InputError(f"{folder / MANIFEST} is damaged", why=str(error), fix="give another --out") from error
    now = identity(json.loads(json.dumps(manifest, default=str)))
    others = [{key: value for key, value in one.items() if key not in _OF_OTHERS} for one in (before, now)]
    changes = list(differences(others[0], others[1]))
    if changes:
        raise InputError(
            f"{folder} holds samples of another evaluation",
            why="; ".join(changes[:8]),
            fix="give another folder with --out, or leave it out: then nothing is measured",
        )
    path = folder / SAMPLES
    return (read_samples(path) if path.exists() else []), before == now


def _extrapolated(
    found: Estimate, kept: Sequence[Sample], done: Sequence[Sample], planned: int, price: Price
) -> Estimate:
    """The estimate with what was measured: what is done counts as it was, the rest as what is done was in the mean."""
    measured = [sample for sample in kept if sample.calls is not None]
    if not measured:
        return found
    changes: dict[str, Any] = {}
    for name in _TOKENS:
        interval = getattr(found, name)
        values = [(sample, float(getattr(sample, name) or 0)) for sample in measured]
        likely, expected = _total(values, [s for s in done if s.calls is not None], planned, found.samples)
        if name == "sequential_tokens":  # of one run: the sum over all of them means nothing
            likely, expected = likely / planned, expected and (expected[0] / planned, expected[1] / planned)
        changes[name] = _with(interval, likely, expected)
    outputs = changes["output_tokens"]
    changes["seconds"] = _scaled(found.seconds, outputs, found.output_tokens)
    if found.dollars is not None and price.hour:
        changes["dollars"] = _scaled(found.dollars, outputs, found.output_tokens)
    elif found.dollars is not None:
        spent = [(s, price.of(s.input_tokens or 0, s.output_tokens or 0)) for s in measured]
        likely, expected = _total(spent, [s for s in done if s.calls is not None], planned, found.samples)
        changes["dollars"] = _with(found.dollars, likely, expected)
    problems = len({sample.id for sample in measured})
    note = (
        f"95 % intervals: over the {problems} problems measured; that of seconds supposes that the pace stays as it is"
    )
    if problems < _FEWEST:
        note = f"no 95 % intervals: {problems} of the problems measured do not tell how they differ; {_FEWEST} would"
    return replace(found, **changes, notes=(*found.notes, note))


def _total(
    values: Sequence[tuple[Sample, float]], done: Sequence[Sample], planned: int, samples: int
) -> tuple[float, tuple[float, float] | None]:
    """The sum over all planned runs, and its 95 % interval where more than one problem was measured."""
    by_problem: dict[str, list[float]] = defaultdict(list)
    for sample, value in values:
        by_problem[sample.id].append(value)
    means = [math.fsum(found) / len(found) for found in by_problem.values()]
    mean = math.fsum(means) / len(means)
    finished = {sample.key for sample in done}
    spent = math.fsum(value for sample, value in values if sample.key in finished)
    rest = planned - len(finished)
    if rest == 0:
        return spent, (spent, spent)
    if len(means) < _FEWEST:
        return spent + rest * mean, None
    low, high = bootstrap(means, seed=0)
    wider = _expansion(len(means)) * math.sqrt(1 + len(means) / (rest / samples))
    least, most = mean - (mean - low) * wider, mean + (high - mean) * wider
    return spent + rest * mean, (spent + rest * least, spent + rest * most)


def _expansion(problems: int) -> float:
    """How much wider the bootstrap's interval must be for so few problems: it knows only the spread among them.

    Then it is of the mean of what was measured. The mean of the rest moves by itself, the more the less there is of it:
    var(mean of k) + var(mean of r) = var(mean of k) × (1 + k / r), which the caller adds.
    Source: Hesterberg 2015, The American Statistician 69, 371-386, the expanded percentile interval; Student's
    quantile by the expansion of Fisher and Cornish 1960, to the third power of 1 / degrees of freedom.
    """
    z, v = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2), problems - 1
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    student = z + sum(term / v**power for power, term in enumerate(terms, start=1))
    return float(student / z * math.sqrt(problems / v))


def _with(interval: Interval, likely: float, expected: tuple[float, float] | None) -> Interval:
    """The interval with what was measured, which cannot be more than what is possible."""
    if interval.low == interval.high:
        return interval  # known for sure: prompts of another length were measured
    most = math.inf if interval.high is None else interval.high
    ends = None if expected is None else (max(0.0, min(expected[0], most)), min(expected[1], most))
    return replace(interval, likely=min(likely, most), expected=ends)


def _scaled(interval: Interval | None, by: Interval | None, before: Interval | None) -> Interval | None:
    """What goes with the output tokens, at the same rate."""
    if interval is None or by is None or before is None or not interval.likely or not before.likely:
        return interval
    rate = interval.likely / before.likely
    likely = None if by.likely is None else by.likely * rate
    expected = None if by.expected is None else (by.expected[0] * rate, by.expected[1] * rate)
    return replace(interval, likely=likely, expected=expected)


def _capped(found: Estimate, budget: Budget) -> Estimate:
    """No end is beyond what all runs may spend together."""
    limits = {
        "calls": budget.calls, "total_tokens": budget.total, "input_tokens": budget.total,
        "output_tokens": budget.total, "seconds": budget.seconds, "dollars": budget.dollars,
    }  # fmt: skip
    changes: dict[str, Any] = {
        name: _below(interval, limit)
        for name, limit in limits.items()
        if limit is not None and (interval := getattr(found, name)) is not None
    }
    note = f"all runs together may spend {budget}: the evaluation ends when there is no room for another run"
    return replace(found, **changes, notes=(*found.notes, note))


def _below(interval: Interval, limit: float) -> Interval:
    ends = interval.expected
    return Interval(
        low=min(interval.low, limit),
        likely=None if interval.likely is None else min(interval.likely, limit),
        high=limit if interval.high is None else min(interval.high, limit),
        expected=None if ends is None else (min(ends[0], limit), min(ends[1], limit)),
    )
