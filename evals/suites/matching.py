"""Equal spending: how many samples, or rounds, cost what another arm has cost."""

from __future__ import annotations


def samples_for(total: float, sample: float, *, least: int = 2) -> int:
    """How many samples come closest to `total` tokens: total ÷ sample, rounded.

    sample: mean tokens of one. Samples of one prompt cost its tokens each: that is how runs count.
    """
    return max(least, round(total / sample))


def rounds_for(tokens: float, first: float, each: float, *, most: int | None = None) -> int:
    """How many rounds after a first call come closest to `tokens`: (tokens − first) ÷ each, rounded, at least one.

    first, each: mean tokens of the first call and of a round, which hold whatever the number of rounds is: a round
    reads the problem and the solution before it, and nothing else.
    """
    found = max(1, round((tokens - first) / each))
    return found if most is None else min(found, most)
