"""The alarm: seldom false, soon right."""

from __future__ import annotations

import math
from collections.abc import Iterable
from random import Random

import pytest

from reasonflow.errors import InputError
from reasonflow.gates.drift import Drift


def until(drift: Drift, scores: Iterable[float]) -> int | None:
    """How many scores it took to alarm; None: it never did."""
    return next((count for count, score in enumerate(scores, 1) if drift.see(score)), None)


def gauss(random: Random, mean: float, count: int) -> list[float]:
    return [random.gauss(mean, 1) for _ in range(count)]


def test_false_alarms_are_as_seldom_as_the_level_says() -> None:
    random = Random(1)
    runs = [until(Drift(gauss(random, 0, 100), level=0.1), gauss(random, 0, 300)) for _ in range(200)]
    assert sum(run is not None for run in runs) / 200 <= 0.1


@pytest.mark.parametrize("mean", [1.5, -1.5])
def test_scores_that_move_either_way_are_noticed(mean: float) -> None:
    random = Random(2)
    for seed in range(20):
        took = until(Drift(gauss(random, 0, 300), seed=seed), gauss(random, mean, 150))
        assert took is not None
        assert took > 3


def test_it_notices_late_too_and_stays_alarmed() -> None:
    random = Random(3)
    drift = Drift(gauss(random, 0, 300))
    assert until(drift, gauss(random, 0, 300)) is None
    assert until(drift, gauss(random, 2, 150)) is not None
    until(drift, gauss(random, 0, 2000))
    assert drift.alarm


def test_equal_scores_are_no_drift() -> None:
    assert until(Drift([1.0] * 50), [1.0] * 500) is None


def test_a_long_run_overflows_nothing() -> None:
    drift = Drift([0.0, 1.0])
    for place in range(3_000):
        drift.see(float(place))
    assert drift.log_capital > 500
    assert math.isfinite(drift.log_capital)


def test_equal_seeds_break_ties_alike() -> None:
    runs = [Drift([0.0, 1.0], seed=seed) for seed in (0, 0, 1)]
    for run in runs:
        for score in (1.0, 1.0, 0.0, 1.0):
            run.see(score)
    assert runs[0].log_capital == runs[1].log_capital != runs[2].log_capital


def test_bad_input() -> None:
    with pytest.raises(InputError, match="without calibration"):
        Drift([])
    with pytest.raises(InputError, match="level 1"):
        Drift([1.0], level=1)
    with pytest.raises(InputError, match="could not be scored"):
        Drift([1.0]).see(math.nan)
