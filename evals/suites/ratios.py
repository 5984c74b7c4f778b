"""How much, and how many times more: means and ratios of what was measured, with intervals over the problems."""

from __future__ import annotations

import math
from collections.abc import Sequence

from reasonflow.evals.statistics import Interval, bootstrap

Pair = tuple[float, float]
"""What stands above the line, and what below it; both of one problem."""


def mean_ratio(pairs: Sequence[Pair]) -> Interval | None:
    """The mean over problems of each one's own ratio; None of none."""
    return mean_of([above / below for above, below in pairs])


def ratio_of_totals(pairs: Sequence[Pair]) -> Interval | None:
    """The total of what stands above over the total of what stands below; None where that is nothing."""
    below = math.fsum(pair[1] for pair in pairs)
    if not below:
        return None
    ratio = math.fsum(pair[0] for pair in pairs) / below
    # A problem moves the ratio by what it has above, less what it should have there, over the mean below: these
    # influences have the ratio as their mean, and its spread (Efron and Tibshirani 1993, chapter 21).
    return mean_of([ratio + (a - ratio * b) * len(pairs) / below for a, b in pairs])


def mean_of(values: Sequence[float]) -> Interval | None:
    """The mean over problems of a number that each has; None of none."""
    return Interval(math.fsum(values) / len(values), *bootstrap(values, seed=0)) if values else None
