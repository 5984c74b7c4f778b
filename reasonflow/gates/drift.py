"""An alarm for scores that are no longer what a gate was calibrated on."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from random import Random

from reasonflow.errors import InputError

_JUMPS = 0.01
"""Share of the capital that changes sides at each score: the published value."""
_SIDES = (-1.0, 0.0, 1.0)


class Drift:
    """Bets against the scores being of one kind, and is rich where they are not.

    Each score has a p-value among all before it, uniform while scores are exchangeable. Betting on low ones, on high
    ones and on neither, with a little of each changing sides at every step, is a fair game then: the chance that the
    capital ever passes 1 / level is at most level, however long it runs (a conformal test martingale, the "simple
    jumper": Vovk et al., Retrain or not retrain, COPA 2021).

    calibration: scores that the gate was calibrated on. level: chance of a false alarm, ever. seed: of the ties.
    Raises InputError without calibration, and for a level outside 0 to 1.
    """

    def __init__(self, calibration: Sequence[float], *, level: float = 0.01, seed: int = 0) -> None:
        if not 0 < level < 1:
            raise InputError(f"an alarm at level {level}", fix="give a chance above 0 and below 1, such as 0.01")
        if not calibration:
            raise InputError("an alarm without calibration", fix="give the scores that the gate was calibrated on")
        self._seen = sorted(map(_finite, calibration))
        self._random = Random(seed)
        self._level = level
        self._logs = [-math.log(len(_SIDES))] * len(_SIDES)
        """Logarithms of what is bet on each side: a capital of a long run is beyond any float."""
        self._most = 0.0

    @property
    def log_capital(self) -> float:
        """Natural logarithm of the capital, which begins with 1."""
        return _log_sum(self._logs)

    @property
    def alarm(self) -> bool:
        """Whether the capital has ever passed 1 / level."""
        return self._most >= -math.log(self._level)

    def see(self, score: float) -> bool:
        """One score, in the order in which they come; then the alarm. Raises InputError for one that is not finite."""
        p = self._p(_finite(score))
        whole = self.log_capital
        kept, shared = math.log1p(-_JUMPS), math.log(_JUMPS / len(_SIDES)) + whole
        self._logs = [
            _log_sum((log + kept, shared)) + math.log1p(side * (p - 0.5))
            for side, log in zip(_SIDES, self._logs, strict=True)
        ]
        self._most = max(self._most, self.log_capital)
        return self.alarm

    def _p(self, score: float) -> float:
        insort(self._seen, score)
        low, high = bisect_left(self._seen, score), bisect_right(self._seen, score)
        return (low + self._random.random() * (high - low)) / len(self._seen)


def _finite(score: float) -> float:
    if not math.isfinite(score):
        raise InputError(f"a score of {score} tells nothing about drift", fix="leave out what could not be scored")
    return score


def _log_sum(logs: Sequence[float]) -> float:
    most = max(logs)
    return most + math.log(math.fsum(math.exp(log - most) for log in logs))
