"""Accuracy over problems and samples, with an interval that says how far to trust it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

CONFIDENCE = 0.95
DRAWS = 10_000
"""Resamples of the bootstrap: its 95 % ends then move by less than a tenth of a point between seeds."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """A share of right answers, or a mean score, and its interval. Shares are in [0, 1]."""

    value: float
    low: float
    high: float
    method: Literal["wilson", "bootstrap"]


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and the ends of its interval."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """Rounded to six places."""
        return {name: round(getattr(self, name), 6) for name in ("value", "low", "high")}


def accuracy(verdicts: Sequence[Sequence[float]], *, seed: int = 0, confidence: float = CONFIDENCE) -> Accuracy:
    """Mean over problems of the mean over each problem's samples.

    verdicts: (problems, samples of each), true or false, or graded scores; problems without a sample are left out.
    One yes or no a problem gives Wilson's interval. With more, samples of one problem are not independent, so whole
    problems are resampled, as graded scores are; where all problems agree on 0 or 1 nothing can be resampled, and
    Wilson's over the problems stands in. Raises ValueError if there is no sample at all.
    """
    scored = [samples for samples in verdicts if samples]
    if not scored:
        raise ValueError("no sample to compute an accuracy from")
    means = [sum(samples) / len(samples) for samples in scored]
    value = math.fsum(means) / len(means)
    single = all(len(samples) == 1 for samples in scored) and set(means) <= {0.0, 1.0}
    if single or set(means) in ({0.0}, {1.0}):
        low, high = wilson(round(value * len(means)), len(means), confidence)
        return Accuracy(value, low, high, "wilson")
    low, high = bootstrap(means, seed=seed, confidence=confidence)
    return Accuracy(value, low, high, "bootstrap")


def paired_difference(
    verdicts: Sequence[Sequence[float]],
    others: Sequence[Sequence[float]],
    *,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> Interval:
    """How much more accurate the first is than the second on the same problems, in [-1, 1].

    verdicts, others: (problems, samples of each), problem by problem the same ones, every one with samples in both.
    Problems are resampled with both of their means, so that what makes a problem hard for both counts for neither.
    Where every problem differs by the same, by nothing for example, nothing can be resampled: as many other problems
    may differ by anything, as Wilson's interval leaves room for. That takes values from 0 to 1, as shares are.
    Raises ValueError without problems, and where the two do not match.
    """
    if not verdicts or len(verdicts) != len(others) or not all(map(len, [*verdicts, *others])):
        raise ValueError(f"{len(verdicts)} and {len(others)} problems with samples do not pair")
    differences = [sum(a) / len(a) - sum(b) / len(b) for a, b in zip(verdicts, others, strict=True)]
    value = math.fsum(differences) / len(differences)
    if len(set(differences)) == 1 and abs(value) <= 1:
        unseen = wilson(0, len(differences), confidence)[1]
        return Interval(value, value - unseen * (1 + value), value + unseen * (1 - value))
    low, high = bootstrap(differences, seed=seed, confidence=confidence)
    return Interval(value, low, high)


def wilson(successes: int, trials: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's score interval of a proportion: (low, high) in [0, 1]. Raises ValueError without trials.

    Source: Wilson 1927, J. Amer. Statist. Assoc. 22, 209-212.
    """
    if not 0 <= successes <= trials or trials == 0:
        raise ValueError(f"{successes} successes in {trials} trials")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = successes / trials
    centre = share + z * z / (2 * trials)
    spread = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    # At the ends the formula gives exactly 0 and 1; floating point is off by 1e-17 there.
    low = 0.0 if successes == 0 else (centre - spread) / scale
    high = 1.0 if successes == trials else (centre + spread) / scale
    return low, high


def bootstrap(means: Sequence[float], *, seed: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Percentile interval of the mean of per-problem means, resampling problems: (low, high).

    means: (problems,). Equal arguments give equal ends.
    Source: Efron and Tibshirani 1993, chapter 13; problems are the clusters.
    """
    import numpy as np  # not above: `import reasonflow` would load it for everybody

    values = np.asarray(means, dtype=np.float64)
    rng = np.random.default_rng(seed)
    # In slices: ten thousand draws of ten thousand problems at once would take 800 MB.
    at_once = max(1, 2_000_000 // len(values))
    drawn: list[float] = []
    while len(drawn) < DRAWS:
        picks = rng.integers(0, len(values), size=(min(at_once, DRAWS - len(drawn)), len(values)))
        drawn.extend(values[picks].mean(axis=1).tolist())
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
