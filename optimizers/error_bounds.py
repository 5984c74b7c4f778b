"""How many errors may be among what a threshold accepts, so that they show its risk to be small: for all thresholds.

Accept more and more of `count` labelled samples, best score first. `most_errors` gives a bound for each number of
accepted ones. The chance that *any* threshold whose risk is above alpha keeps to it is at most delta, so the threshold
may be chosen by looking at all of them: Learn then Test (Angelopoulos et al., arXiv:2110.01052) with one test of all
thresholds together in place of an order in which they are tested.

Why that is so. Take any thresholds of risk above alpha, strictest first; between two of them lies a shell of samples.
Raise the risk of the i-th and leave the others: of the samples in the shells around it errors move to the stricter one
and right ones to the looser one. Each error that moves adds one to the i-th's errors and one to its accepted; each
right one takes one of the accepted. The bound grows by at most one with each accepted, and never falls, so that the
i-th is less likely to keep to it; all others are left as they were. Hence risks of just alpha are the worst, at which
errors are independent of scores: a coin of chance alpha for each accepted sample, whose chance of ever keeping to the
bound is a sum that can be computed. Since it holds for any finite number of thresholds it holds for all.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

_STEPS = 2_000
"""Numbers of accepted samples that are tested, at most, evenly apart: more of them gain nothing that could be seen."""
_HALVINGS = 8
"""Of the search for the level, which is then known to a few hundredths of itself."""


@lru_cache(maxsize=256)
def most_errors(count: int, alpha: float, delta: float) -> tuple[int, ...]:
    """(count + 1,): among so many accepted of `count` samples, the most errors that show a risk of at most alpha.

    -1 where not even none would. Each number of accepted has the same level, the chance of so few errors at risk alpha.
    It is the largest with which the bound holds for all at once.
    """
    step = max(1, math.ceil(count / _STEPS))
    low, high = delta * step / max(count + step, 1), delta
    found = _bound(count, alpha, delta, step)
    if found[0] > delta:
        for _ in range(_HALVINGS):
            level = math.sqrt(low * high)
            low, high = (level, high) if _bound(count, alpha, level, step)[0] <= delta else (low, level)
        found = _bound(count, alpha, low, step)
    return _between(found[1], count, step)


@lru_cache(maxsize=65_536)  # over many splits the same few tests come again and again
def binomial_tail(errors: int, count: int, rate: float) -> float:
    """The chance of at most so many errors among count, at a rate above 0 and below 1."""
    if errors >= count:
        return 1.0
    return min(1.0, math.fsum(math.exp(_log_chance(k, count, rate)) for k in range(errors + 1)))


def _log_chance(k: int, count: int, rate: float) -> float:
    ways = math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1)
    return ways + k * math.log(rate) + (count - k) * math.log1p(-rate)


def _bound(count: int, alpha: float, level: float, step: int) -> tuple[float, dict[int, int]]:
    """The chance that errors of rate alpha ever keep to the bound of that level, and the bound at every `step`."""
    import numpy as np  # not above: `import reasonflow` would load it for everybody

    room = min(count, math.ceil(alpha * count + 5 * math.sqrt(count))) + 1
    free, going = np.zeros(room), np.zeros(room)
    """(room,): chances of so many errors, and of those that have never kept to the bound. More errors do not return."""
    free[0] = going[0] = 1.0
    kept, bound, accepted = 0.0, {}, 0
    while accepted < count:
        more = min(step, count - accepted)
        accepted += more
        chances = np.array([math.exp(_log_chance(k, more, alpha)) for k in range(more + 1)])
        free, going = (np.convolve(each, chances)[:room] for each in (free, going))
        most = int(np.searchsorted(np.cumsum(free), level, side="right")) - 1
        bound[accepted] = most
        kept += _taken(going, most)
    return kept, bound


def _taken(going: NDArray[Any], most: int) -> float:
    """The chance of at most so many errors, which is taken out."""
    found = float(going[: most + 1].sum())
    going[: most + 1] = 0.0
    return found


def _between(bound: dict[int, int], count: int, step: int) -> tuple[int, ...]:
    """The bound at every number: the one before it, or what only the next one's can come of.

    Whoever keeps to it keeps to the bound at a step, too. It never falls, and never grows by more than one.
    """
    found = [-1] * (count + 1)
    for accepted in range(1, count + 1):
        after = min(count, math.ceil(accepted / step) * step)
        found[accepted] = max(found[accepted - 1], bound[after] - (after - accepted))
    return tuple(found)
