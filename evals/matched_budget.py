"""Equal spending: what a program of which several points are known scores with a given number of tokens.

The rule: two neighbouring points, one that spends less and one that spends more, mixed so that the mix spends exactly
the tokens. Who answers a share of the runs by the one and the rest by the other does spend and score that on average:
nothing is assumed of the curve between them. Below the cheapest point there is nothing; beyond the dearest it is that
one, and said to spend less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mix:
    """Two points of a curve, and how much of each."""

    low: int
    high: int
    """Indices of the points; equal where one point is all of it."""
    share: float
    """Of the runs that the high one answers, in [0, 1]."""
    short: bool = False
    """Whether it spends less than was asked for: it is the dearest point."""

    def of(self, low: float, high: float) -> float:
        """What the mix has, of what the two points have."""
        return (1 - self.share) * low + self.share * high


def mix_at(costs: Sequence[float], tokens: float) -> Mix | None:
    """The mix that spends `tokens` on average; None where even the cheapest point spends more.

    costs: mean tokens of the points, in any order. Of points that cost the same the last one counts.
    """
    order = sorted(range(len(costs)), key=lambda place: costs[place])
    below = [place for place in order if costs[place] <= tokens]
    above = [place for place in order if costs[place] > tokens]
    if not below:
        return None
    low = below[-1]
    if not above or costs[low] == tokens:
        return Mix(low, low, 0.0, short=costs[low] < tokens)
    dearer = max(place for place in above if costs[place] == costs[above[0]])
    return Mix(low, dearer, (tokens - costs[low]) / (costs[dearer] - costs[low]))
