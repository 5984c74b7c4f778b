"""Places among calibration scores: published values."""

from __future__ import annotations

from random import Random

import pytest

from reasonflow.errors import InputError
from reasonflow.gates.conformal import p_value, percentile


def test_the_published_values() -> None:
    assert p_value(-2.5, [-1, -2, -3, -4]) == pytest.approx(0.6)
    assert percentile(2.5, [1, 2, 3, 4]) == 0.5


def test_a_p_value_of_exchangeable_scores_is_small_as_seldom_as_it_says() -> None:
    random = Random(0)
    small = sum(p_value(random.gauss(0, 1), [random.gauss(0, 1) for _ in range(19)]) <= 0.1 for _ in range(4_000))
    assert 0.08 < small / 4_000 < 0.12


def test_without_calibration() -> None:
    assert p_value(1.0, []) == 1.0
    with pytest.raises(InputError, match="no scores"):
        percentile(1.0, [])
