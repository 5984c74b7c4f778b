"""Whether a calibrated gate keeps its promise: over many random splits of labelled scores, and how much it accepts.

Each split calibrates on one part and counts on the other, the test part. What a promise is about is the population's
risk, and a test part shows it with the noise of its size. So violations are counted in up to three ways:

- the error among what is accepted of the test part is above alpha. Where the risk is near alpha, noise alone does that
  in half of the splits: with few hundred test samples this overstates.
- it is above alpha beyond chance: were the risk alpha, so many errors would have a chance of at most `CHANCE`. A gate
  that keeps its promise does so in at most delta + `CHANCE` of all splits, however small the test part is.
- the population's risk itself is above alpha, where it is known.

Splits of given samples are of one pool, and its luck is in all of them. From a population each split is drawn anew.
"""

from __future__ import annotations

import math
import statistics
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple

import reasonflow as rf
from reasonflow.errors import InputError
from reasonflow.evals.performance.gate_samples import Population
from reasonflow.evals.performance.report import UNKNOWN, Provenance, Report, Table, provenance
from reasonflow.evals.statistics import Interval, bootstrap, wilson
from reasonflow.gates.scores import Measured
from reasonflow.optimizers.error_bounds import binomial_tail
from reasonflow.optimizers.gates import Sample, calibrate, fewest

ALPHAS = tuple(step / 100 for step in range(2, 31, 2))
"""Of the sweep."""
CHANCE = 0.03
"""Level at which errors of a test part are more than chance."""


class Band(NamedTuple):
    """A figure over splits."""

    low: float
    """A twentieth of the splits is below."""
    middle: float
    high: float
    """And a twentieth above."""

    @classmethod
    def of(cls, numbers: Sequence[float]) -> Band | None:
        """None of no number."""
        if not numbers:
            return None
        ordered = sorted(numbers)
        last = len(ordered) - 1
        return cls(ordered[round(0.05 * last)], statistics.median(ordered), ordered[round(0.95 * last)])


class Split(NamedTuple):
    """One split at one alpha, counted on the test part."""

    accepted: int
    errors: int
    hindsight: int
    """The most that any one threshold accepts with errors of at most alpha, known what is right."""
    population_risk: float | None
    """Of the threshold; None where it is not known."""

    def violates(self, alpha: float) -> bool:
        return self.errors > alpha * self.accepted

    def violates_beyond_chance(self, alpha: float) -> bool:
        return self.violates(alpha) and 1 - binomial_tail(self.errors - 1, self.accepted, alpha) <= CHANCE


@dataclass(frozen=True, slots=True, kw_only=True)
class AtAlpha:
    """All splits at one alpha."""

    alpha: float
    violation_share: float
    violation_share_interval: tuple[float, float]
    """95 %, for the number of splits."""
    violation_share_beyond_chance: float
    beyond_interval: tuple[float, float]
    """The same of that."""
    violation_share_of_population: float | None
    nothing_passes_share: float
    """Splits in which nothing could be promised. They violate nothing."""
    risk: Band | None
    """Errors among what is accepted, over the splits in which something is."""
    acceptance: Band
    """Of the test part."""
    hindsight: Band
    """The same of the best threshold in hindsight."""
    acceptance_over_hindsight: float | None
    """Mean of their ratio, at most 1 in each split, over those in which hindsight accepts anything."""
    acceptance_over_hindsight_band: Band | None
    acceptance_over_hindsight_interval: Interval | None
    """Of the mean, 95 %, for the number of splits."""

    def to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name in self.__slots__:
            value = getattr(self, name)
            if isinstance(value, Band):
                value = {part: round(number, 6) for part, number in value._asdict().items()}
            if isinstance(value, Interval):
                value = value.to_json()
            found[name] = value
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSplits:
    """What was asked for, and beside it the same at other alphas."""

    asked: AtAlpha
    sweep: tuple[AtAlpha, ...]
    """By alpha, the one that was asked for among them."""
    delta: float
    splits: int
    calibration: int
    """Samples of each split that it is calibrated on; the others test it."""
    samples: int
    drawn: bool
    """Anew for each split, of a population."""
    left_out: tuple[float, ...]
    """Alphas that so few samples cannot show at all."""
    provenance: Provenance = UNKNOWN

    def figures(self) -> dict[str, float]:
        """At the alpha that was asked for."""
        asked = self.asked
        flat = {
            "violation_share": asked.violation_share,
            "violation_share_beyond_chance": asked.violation_share_beyond_chance,
            "violation_share_of_population": asked.violation_share_of_population,
            "nothing_passes_share": asked.nothing_passes_share,
            "risk": asked.risk and asked.risk.middle,
            "acceptance": asked.acceptance.middle,
            "acceptance_over_hindsight": asked.acceptance_over_hindsight,
        }
        return {name: round(number, 4) for name, number in flat.items() if number is not None}

    def report(self) -> Report:
        spread = {"acceptance_over_hindsight": self.asked.acceptance_over_hindsight_band, "risk": self.asked.risk}
        tested = self.samples - self.calibration
        notes = [
            f"Violations and acceptance are counted on {tested:,} test samples a split; where nothing passes, nothing "
            f"violates. Beyond chance: errors that would have a chance of at most {CHANCE:g}, were the risk alpha. "
            f"The promise is a share of at most {self.delta:g}, beyond chance of {self.delta + CHANCE:g}. "
            "Spreads are of 90 % of the splits."
        ]
        if self.left_out:
            named = ", ".join(f"{alpha:g}" for alpha in self.left_out)
            notes.append(f"{self.calibration} samples cannot show alpha {named}.")
        return Report(
            benchmark="gate",
            unit="shares",
            figures=self.figures(),
            tables=(_table(self),),
            repeats=self.splits,
            spread={name: [round(band.low, 4), round(band.high, 4)] for name, band in spread.items() if band},
            details={
                "alpha": self.asked.alpha,
                "delta": self.delta,
                "samples": self.samples,
                "drawn": self.drawn,
                "calibration": self.calibration,
                "sweep": [each.to_json() for each in self.sweep],
            },
            notes=tuple(notes),
            provenance=self.provenance,
        )


def measure_splits(
    samples: Sequence[Sample] | Population,
    *,
    alpha: float = 0.1,
    delta: float = 0.1,
    splits: int = 500,
    calibration: int | None = None,
    higher: bool = True,
    seed: int = 0,
    alphas: Sequence[float] = ALPHAS,
    drawn: int = 4_000,
) -> GateSplits:
    """Calibrate on a random part of the samples and count on the rest, again and again.

    samples: or a population, of which each split draws `drawn`. calibration: samples of the part; None: a quarter of
    all. higher: whether a higher score is better. alphas: of the sweep; those that the part is too small for are left
    out.
    Equal arguments give equal figures.
    Raises InputError where nothing is left to test on, and as `calibrate` does for the alpha that was asked for.
    """
    count = drawn if isinstance(samples, Population) else len(samples)
    held = count // 4 if calibration is None else calibration
    if not 0 < held < count:
        raise InputError(f"{held} of {count} samples to calibrate on", fix="give more, or leave some to test on")
    if splits < 1:
        raise InputError(f"{splits} splits", fix="give a whole number from 1 up")
    gate = rf.Gate(Measured("score", higher=higher))
    wanted = sorted({*alphas, alpha})
    shown = [each for each in wanted if each == alpha or fewest(each, delta) <= held]
    found: dict[float, list[Split]] = {each: [] for each in shown}
    for pool in _pools(samples, count, splits, seed):
        test = _Test(pool[held:], higher)
        for each in shown:
            calibrate(gate, pool[:held], alpha=each, delta=delta)
            known = _known_risk(samples, gate.threshold)
            found[each].append(test.split(gate.threshold, each, known))
    sweep = tuple(_at_alpha(each, found[each], count - held) for each in shown)
    return GateSplits(
        asked=sweep[shown.index(alpha)],
        sweep=sweep,
        delta=delta,
        splits=splits,
        calibration=held,
        samples=count,
        drawn=isinstance(samples, Population),
        left_out=tuple(each for each in wanted if each not in shown),
        provenance=provenance(("reasonflow",)),
    )


def _pools(samples: Sequence[Sample] | Population, count: int, splits: int, seed: int) -> Iterator[list[Sample]]:
    """All samples of each split, in random order."""
    random = Random(seed)
    for _ in range(splits):
        if isinstance(samples, Population):
            yield samples.draw(count, random)
        else:
            yield random.sample(samples, count)


def _known_risk(samples: Sequence[Sample] | Population, threshold: float | None) -> float | None:
    """Of a threshold in the population; None where there is no population."""
    if not isinstance(samples, Population):
        return None
    return 0.0 if threshold is None else samples.risk(threshold)


class _Test:
    """The test part, best score first, with the errors among the first so many."""

    def __init__(self, samples: Sequence[Sample], higher: bool) -> None:
        self._sign = -1 if higher else 1
        scored = sorted((self._sign * score, right) for score, right in samples if not math.isnan(score))
        self._ranks = [rank for rank, _ in scored]
        self._errors = [0]
        for _, right in scored:
            self._errors.append(self._errors[-1] + (not right))

    def split(self, threshold: float | None, alpha: float, population_risk: float | None) -> Split:
        accepted = 0 if threshold is None else bisect_right(self._ranks, self._sign * threshold)
        return Split(accepted, self._errors[accepted], self._hindsight(alpha), population_risk)

    def _hindsight(self, alpha: float) -> int:
        """Equal scores pass together or not at all."""
        ranks, errors = self._ranks, self._errors
        for count in range(len(ranks), 0, -1):
            if errors[count] <= alpha * count and (count == len(ranks) or ranks[count - 1] != ranks[count]):
                return count
        return 0


def _at_alpha(alpha: float, splits: Sequence[Split], tested: int) -> AtAlpha:
    count = len(splits)
    violations = sum(split.violates(alpha) for split in splits)
    beyond = sum(split.violates_beyond_chance(alpha) for split in splits)
    ratios = [min(1.0, split.accepted / split.hindsight) for split in splits if split.hindsight]
    risks = [split.population_risk for split in splits if split.population_risk is not None]
    acceptance = Band.of([split.accepted / tested for split in splits])
    hindsight = Band.of([split.hindsight / tested for split in splits])
    assert acceptance is not None
    assert hindsight is not None
    return AtAlpha(
        alpha=alpha,
        violation_share=violations / count,
        violation_share_interval=wilson(violations, count),
        violation_share_beyond_chance=beyond / count,
        beyond_interval=wilson(beyond, count),
        violation_share_of_population=sum(risk > alpha for risk in risks) / count if risks else None,
        nothing_passes_share=sum(not split.accepted for split in splits) / count,
        risk=Band.of([split.errors / split.accepted for split in splits if split.accepted]),
        acceptance=acceptance,
        hindsight=hindsight,
        acceptance_over_hindsight=statistics.fmean(ratios) if ratios else None,
        acceptance_over_hindsight_band=Band.of(ratios),
        acceptance_over_hindsight_interval=_mean(ratios),
    )


def _mean(ratios: Sequence[float]) -> Interval | None:
    return Interval(statistics.fmean(ratios), *bootstrap(ratios, seed=0)) if ratios else None


def _table(measured: GateSplits) -> Table:
    known = measured.asked.violation_share_of_population is not None
    return Table(
        title=f"{measured.splits} splits{', each drawn anew' if measured.drawn else ''}, {measured.calibration:,} of "
        f"{measured.samples:,} samples to calibrate on, delta {measured.delta:g}; medians (5 to 95 % of the splits)",
        columns=(
            "alpha",
            "violations",
            "beyond chance",
            *(("true ones",) if known else ()),
            "none pass",
            "errors of accepted",
            "accepted",
            "hindsight",
            "ratio",
        ),
        rows=tuple(_row(each, known) for each in measured.sweep),
    )


def _row(each: AtAlpha, known: bool) -> tuple[str, ...]:
    shares = [each.violation_share, each.violation_share_beyond_chance]
    if known:
        shares.append(each.violation_share_of_population or 0.0)
    ratio = each.acceptance_over_hindsight
    return (
        f"{each.alpha:g}",
        *(f"{share:.3f}" for share in (*shares, each.nothing_passes_share)),
        *(_cell(band) for band in (each.risk, each.acceptance)),
        f"{each.hindsight.middle:.3f}",
        "–" if ratio is None else f"{ratio:.2f}",
    )


def _cell(band: Band | None) -> str:
    return "–" if band is None else f"{band.middle:.3f} ({band.low:.3f} to {band.high:.3f})"
