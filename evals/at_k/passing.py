"""pass@k and G-Pass@k: how many of k samples are right, exactly, over every way to take k of the n drawn."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, comb


def pass_at(right: int, drawn: int, k: int) -> float:
    """Chance that at least one of `k` samples is right: the unbiased estimate from `right` of `drawn`, in [0, 1].

    Raises ValueError for k outside 1 to `drawn`: the estimator is undefined there.
    Source: Chen et al. 2021, arXiv:2107.03374, section 2.1.
    """
    _check(right, drawn, k)
    return 1 - comb(drawn - right, k) / comb(drawn, k)


def g_pass_at(right: int, drawn: int, k: int, share: float) -> float:
    """Chance that at least `share` of `k` samples are right, one at least; `share` in [0, 1] is the paper's tau.

    With share near 0 it is pass@k, with 1 the chance that all k are right. Raises ValueError as `pass_at` does.
    Source: Liu et al. 2024, arXiv:2412.13147, its definition of G-Pass@k.
    """
    _check(right, drawn, k)
    if not 0 <= share <= 1:
        raise ValueError(f"share={share} is no share")
    # As it is written: 0.55 of 100 are 55, which the nearest float to 0.55 exceeds.
    return _at_least(max(1, ceil(Fraction(str(share)) * k)), right, drawn, k)


def mg_pass_at(right: int, drawn: int, k: int) -> float:
    """The mean of G-Pass@k over shares from a half to 1: (2 / k) times its sum over i from ceil(k / 2) + 1 to k.

    At odd k the sum has (k - 1) / 2 terms, so that even samples that are all right give 1 - 1 / k: it is the published
    figure, made for even k. Raises ValueError as `pass_at` does.
    Source: Liu et al. 2024, arXiv:2412.13147, its definition of mG-Pass@k.
    """
    _check(right, drawn, k)
    return 2 / k * sum(_at_least(least, right, drawn, k) for least in range(ceil(k / 2) + 1, k + 1))


def _at_least(least: int, right: int, drawn: int, k: int) -> float:
    """The tail of the hypergeometric distribution. Whole numbers until the division: no rounding adds up."""
    ways = sum(comb(right, good) * comb(drawn - right, k - good) for good in range(least, min(right, k) + 1))
    return ways / comb(drawn, k)


def _check(right: int, drawn: int, k: int) -> None:
    if not 0 <= right <= drawn or not 1 <= k <= drawn:
        raise ValueError(f"{k} samples of {drawn}, {right} of them right")
