"""Ratios over problems: their values, and intervals that hold them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasonflow.evals.suites.ratios import mean_ratio, ratio_of_totals

measured = st.lists(st.tuples(st.floats(1, 1e4), st.floats(1, 1e4)), min_size=1, max_size=8)


def test_each_problems_ratio_counts_alike_and_totals_count_by_size() -> None:
    pairs = [(300.0, 100.0), (10.0, 10.0)]
    mean, total = mean_ratio(pairs), ratio_of_totals(pairs)
    assert mean is not None
    assert total is not None
    assert mean.value == 2.0
    assert total.value == pytest.approx(310 / 110)
    assert (mean.low, mean.high) == (1.0, 3.0)


@given(measured)
def test_the_interval_holds_the_ratio(pairs: list[tuple[float, float]]) -> None:
    for found in (mean_ratio(pairs), ratio_of_totals(pairs)):
        assert found is not None
        assert found.low <= found.value * (1 + 1e-9)
        assert found.value <= found.high * (1 + 1e-9)
    total = ratio_of_totals(pairs)
    assert total is not None
    assert total.value == pytest.approx(sum(a for a, _ in pairs) / sum(b for _, b in pairs))


def test_equal_ratios_leave_no_doubt() -> None:
    found = ratio_of_totals([(2.0, 1.0), (20.0, 10.0), (6.0, 3.0)])
    assert found is not None
    assert (found.low, found.value, found.high) == pytest.approx((2.0, 2.0, 2.0))


def test_nothing_has_no_ratio() -> None:
    assert mean_ratio([]) is None
    assert ratio_of_totals([]) is None
    assert ratio_of_totals([(1.0, 0.0)]) is None
