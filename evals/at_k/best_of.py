"""The best of k samples by a score, over every way to take k of the n drawn: order statistics, no simulation."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb


def best_of_at(values: Sequence[float], scores: Sequence[float | None], k: int) -> float:
    """Mean value of the sample with the highest score among `k`.

    values: (samples,), 1 or 0, or graded. scores: (samples,), a verifier's; a sample whose score is None is never
    chosen, as `BestOfN` does with what it cannot score, and k samples without any score are worth 0. Equal scores share
    the choice: samples are alike, so each of them comes first equally often.
    With the values as scores it is the mean of the largest of k.
    Raises ValueError for k outside 1 to the number of samples, and where scores and values do not pair.
    """
    if len(values) != len(scores) or not 1 <= k <= len(values):
        raise ValueError(f"{k} samples of {len(values)} with {len(scores)} scores")
    tied: dict[float, list[float]] = {}
    for value, score in zip(values, scores, strict=True):
        if score is not None:
            tied.setdefault(score, []).append(value)
    left, whole, mean = len(values), comb(len(values), k), 0.0
    for score in sorted(tied, reverse=True):
        # The best is one of these: k of what is not better, less k of what is worse.
        ways = comb(left, k) - comb(left - len(tied[score]), k)
        mean += ways / whole * sum(tied[score]) / len(tied[score])
        left -= len(tied[score])
    return mean
