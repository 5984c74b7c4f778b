"""maj@k: how often a vote over k samples is right, over the ways to take k of the n drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import comb, sqrt

EXACT_STEPS = 20_000
"""Array operations, about a tenth of a second, that one problem may take; beyond, subsets are drawn."""
EXACT_SAMPLES = 512
"""Beyond, the numbers of ways leave what a float holds."""
SUBSETS = 4_000
"""Drawn where counting them all would take too long: the standard error is at most 0.008 of one problem."""


@dataclass(frozen=True, slots=True)
class Expected:
    """A mean over subsets."""

    value: float
    error: float = 0.0
    """Standard error of a Monte-Carlo; 0: every subset was counted."""


def majority_at(
    ballots: Sequence[str | None], values: Sequence[float], k: int, *, seed: Sequence[int] = (0,)
) -> Expected:
    """Mean value of what a vote over `k` of the samples gives.

    ballots: (samples,), answers in one spelling; None has no vote. values: (samples,), what each is worth, 1 or 0 or
    graded. The largest group wins, with one of its samples; equal groups share it, as `rf.vote` does over all orders of
    samples, which are alike: the first of the first group counts there. Without any vote there is no answer, worth 0.
    Exact while that is cheap, else over SUBSETS subsets drawn by `seed`, with the standard error of that.
    Raises ValueError for k outside 1 to the number of samples, and where ballots and values do not pair.
    """
    if len(ballots) != len(values) or not 1 <= k <= len(values):
        raise ValueError(f"{k} samples of {len(values)} with {len(ballots)} ballots")
    groups: dict[str, list[float]] = {}
    for ballot, value in zip(ballots, values, strict=True):
        if ballot is not None:
            groups.setdefault(ballot, []).append(value)
    sizes = [len(group) for group in groups.values()]
    worth = [sum(group) / len(group) for group in groups.values()]
    winners = [place for place, each in enumerate(worth) if each]
    steps = len(values) * sum(min(k, sizes[place]) for place in winners)
    if len(values) > EXACT_SAMPLES or steps > EXACT_STEPS:
        return _drawn(sizes, worth, len(values), k, seed)
    silent = len(values) - sum(sizes)
    chances = [_chance(sizes[place], tuple(sorted(sizes[:place] + sizes[place + 1 :])), silent, k) for place in winners]
    return Expected(sum(worth[place] * chance for place, chance in zip(winners, chances, strict=True)))


@lru_cache(maxsize=65_536)  # problems alike in their votes are common: all agree, all but one, ...
def _chance(size: int, others: tuple[int, ...], silent: int, k: int) -> float:
    """Chance that the group of that size wins: a sum over how many votes it gets, each with the others' at most it."""
    ways = sum(comb(size, votes) * _at_most(votes, others, silent, k - votes) for votes in range(1, min(size, k) + 1))
    return float(ways / comb(size + sum(others) + silent, k))


def _at_most(votes: int, others: tuple[int, ...], silent: int, rest: int) -> float:
    """Ways to take `rest` samples of the others, no group more than `votes` times; 1 / (t + 1) of one with t ties."""
    import numpy as np  # not above: `import reasonflow` would load it for everybody

    ties = rest // votes
    ways = np.zeros((rest + 1, ties + 1))  # (samples taken, groups that have as many votes)
    ways[0, 0] = 1
    for size in others:
        grown = np.zeros_like(ways)
        for taken in range(min(size, votes, rest) + 1):
            before = ways[: rest + 1 - taken]
            if taken < votes:
                grown[taken:] += comb(size, taken) * before
            else:
                grown[taken:, 1:] += comb(size, taken) * before[:, :-1]
        ways = grown
    taken_silent = [comb(silent, taken) for taken in range(rest + 1)][::-1]
    return float(np.asarray(taken_silent, dtype=np.float64) @ ways @ (1 / np.arange(1, ties + 2)))


def _drawn(sizes: Sequence[int], worth: Sequence[float], drawn: int, k: int, seed: Sequence[int]) -> Expected:
    """The same over subsets drawn at random."""
    import numpy as np

    rng = np.random.default_rng(list(seed))
    group_of = np.repeat(np.arange(len(sizes)), sizes)
    found: list[float] = []
    while len(found) < SUBSETS:
        picked = rng.permutation(drawn)[:k]
        votes = np.bincount(group_of[picked[picked < len(group_of)]], minlength=len(sizes))
        best = np.flatnonzero(votes == votes.max()) if votes.any() else ()
        found.append(float(np.mean([worth[place] for place in best])) if len(best) else 0.0)
    mean = sum(found) / SUBSETS
    spread = sum((each - mean) ** 2 for each in found) / (SUBSETS - 1)
    # Never 0: of subsets that all gave the same, others may not.
    return Expected(mean, max(sqrt(spread / SUBSETS), 1 / SUBSETS))
