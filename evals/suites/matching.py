"""Equal spending: how many samples, or rounds, cost what another arm has cost."""

from __future__ import annotations

import math
from collections.abc import Sequence


def samples_for(total: float, sample: float, *, least: int = 2) -> int:
    """How many samples come closest to `total` tokens: total ÷ sample, rounded.

    sample: mean tokens of one. Samples of one prompt cost its tokens each: that is how runs count.
    """
    return max(least, round(total / sample))


def rounds_for(tokens: float, first: float, written: float, *, most: int) -> int:
    """How many rounds of refinement after a first call spend at least `tokens`, at least one and at most `most`.

    A round reads the problem and the solution before it and writes another: it is taken to cost as much as the first
    call and once more what that has written. first: mean tokens of the first call; written: its generated ones.
    """
    return min(most, max(1, math.ceil((tokens - first) / (first + written))))


def closest(spent: Sequence[float], tokens: float) -> int:
    """The number of rounds, at least one, whose spending comes closest to `tokens`.

    spent: mean tokens after no round, one round, and so on; at least two numbers.
    """
    return min(range(1, len(spent)), key=lambda rounds: abs(spent[rounds] - tokens))
