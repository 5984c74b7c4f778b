"""When a setting need not be measured further: another one is better and no dearer, with confidence.

A trial grows by blocks of problems, and after each it is compared with every trial that was measured whole, on the
problems both have seen, which both met with the same seeds. A trial is given up where, for one of those others,
three one-sided tests of paired differences all reject at a small level: that its accuracy is no lower, that its
sequential tokens are lower by more than `MARGIN`, and that its total tokens are. That the three together keep the level
of each is the intersection-union test (Berger 1982, Technometrics 24). The level is `alpha` divided by the number of
looks, so that alpha is spent evenly over them, and by the number of others: the chance that a trial is given up which
none of them dominates is at most `alpha`, whatever the results of the tests have in common (Bonferroni).

Where scores are 0 or 1 the test of accuracy is exact (McNemar's, on the problems on which the two differ). For other
scores, and for tokens, it is Student's t test, which is exact for normal differences and close to it for others; no
such test rejects below 2^-n on n problems, however even they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

ALPHA = 0.1
"""Chance that a trial is given up though no other dominates it. A trial that is given up wrongly costs one point of the
front; one that is not costs budget, and a stricter level saves little of it."""
MARGIN = 0.02
"""A share of tokens that nobody pays an accuracy for."""
FIRST_BLOCK = 8
"""Problems before the first look: with fewer, no result could reject."""


@dataclass(frozen=True, slots=True)
class Row:
    """What one trial gave on one problem."""

    score: float
    sequential: int
    """Tokens along the longest path."""
    total: int
    """Input and output tokens of all calls."""


def blocks(problems: int) -> list[int]:
    """How many problems are done after each block: 8, 16, 32, ... and all."""
    ends = []
    end = FIRST_BLOCK
    while end * 1.5 < problems:  # a last block of a few problems would be a look for nothing
        ends.append(end)
        end *= 2
    return [*ends, problems]


def dominator(
    rows: Sequence[Row], finished: Sequence[Sequence[Row]], *, looks: int, alpha: float = ALPHA
) -> int | None:
    """Which of the finished trials dominates this one with confidence; None where none does.

    rows: of the first problems. finished: of all problems, in the same order. looks: how many times it may be asked.
    """
    if not finished or not looks or not alpha:
        return None
    level = alpha / (looks * len(finished))
    chances = [chance(rows, other[: len(rows)]) for other in finished]
    best = min(range(len(chances)), key=chances.__getitem__)
    return best if chances[best] <= level else None


def chance(rows: Sequence[Row], other: Sequence[Row]) -> float:
    """The largest p-value of the three tests: how well `rows` fits a trial that `other` does not dominate."""
    pairs = list(zip(rows, other, strict=True))
    return max(
        _above_zero([theirs.score - ours.score for ours, theirs in pairs]),
        _above_zero([ours.sequential - (1 - MARGIN) * theirs.sequential for ours, theirs in pairs]),
        _above_zero([ours.total - (1 - MARGIN) * theirs.total for ours, theirs in pairs]),
    )


def _above_zero(differences: Sequence[float]) -> float:
    """The p-value of the hypothesis that their mean is at most 0."""
    if set(differences) <= {-1, 0, 1}:
        wins, losses = differences.count(1), differences.count(-1)
        count = wins + losses
        return float(sum(math.comb(count, k) for k in range(wins, count + 1)) / 2**count)
    count, mean = len(differences), fmean(differences)
    if count < 2 or mean <= 0:
        return 1.0
    spread = stdev(differences) / math.sqrt(count)
    tail = t_tail(mean / spread, count - 1) if spread > 0 else 0.0
    return max(tail, 2.0**-count)


def t_tail(t: float, freedom: int) -> float:
    """The chance that Student's t is above `t` >= 0.

    Source: Abramowitz and Stegun 1964, 26.7.3 and 26.7.4, a finite sum for whole degrees of freedom.
    """
    angle = math.atan(t / math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    term, total = (cosine, cosine) if freedom % 2 else (1.0, 1.0)
    for k in range(3 if freedom % 2 else 2, freedom - 1, 2):
        term *= cosine**2 * (k - 1) / k
        total += term
    if freedom % 2:
        inside = 2 / math.pi * (angle + (sine * total if freedom > 1 else 0.0))
    else:
        inside = sine * total
    return max(0.0, (1 - inside) / 2)


def t_quantile(share: float, freedom: int) -> float:
    """The value that Student's t is below with this chance, above one half."""
    low, high = 0.0, 1.0
    while t_tail(high, freedom) > 1 - share:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if t_tail(middle, freedom) > 1 - share else (low, middle)
    return (low + high) / 2
