"""How well scores tell two kinds apart: the area under the ROC curve."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from statistics import NormalDist

from reasonflow.evals.statistics import CONFIDENCE, Interval


def area_under_roc(right: Sequence[float], wrong: Sequence[float], *, confidence: float = CONFIDENCE) -> Interval:
    """The chance that one of the right scores higher than one of the wrong; equal scores count half.

    Raises ValueError where one of the two is empty.
    Source of the interval: Hanley and McNeil 1982, Radiology 143, 29-36, cut to [0, 1].
    """
    if not right or not wrong:
        raise ValueError(f"{len(right)} right and {len(wrong)} wrong ones: there is nothing to tell apart")
    ranked = sorted(wrong)
    beaten = sum((bisect_left(ranked, score) + bisect_right(ranked, score)) / 2 for score in right)
    area = beaten / (len(right) * len(wrong))
    both_right, both_wrong = area / (2 - area), 2 * area * area / (1 + area)
    variance = (
        area * (1 - area) + (len(right) - 1) * (both_right - area**2) + (len(wrong) - 1) * (both_wrong - area**2)
    ) / (len(right) * len(wrong))
    spread = NormalDist().inv_cdf(0.5 + confidence / 2) * math.sqrt(max(0.0, variance))
    return Interval(area, max(0.0, area - spread), min(1.0, area + spread))
