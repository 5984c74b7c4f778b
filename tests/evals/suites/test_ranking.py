"""The area under the ROC curve: against its definition, and its ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasonflow.evals.suites.ranking import area_under_roc

scores = st.lists(st.sampled_from([0.0, 0.1, 0.5, 0.7, 1.0]), min_size=1, max_size=12)


@given(scores, scores)
def test_it_is_the_share_of_pairs_in_the_right_order(right: list[float], wrong: list[float]) -> None:
    pairs = [(a > b) + (a == b) / 2 for a in right for b in wrong]
    found = area_under_roc(right, wrong)
    assert found.value == pytest.approx(sum(pairs) / len(pairs))
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert area_under_roc(wrong, right).value == pytest.approx(1 - found.value)


def test_more_scores_narrow_the_interval() -> None:
    few = area_under_roc([0.4, 0.9], [0.3, 0.6])
    many = area_under_roc([0.4, 0.9] * 50, [0.3, 0.6] * 50)
    assert few.value == many.value == 0.75
    assert many.high - many.low < (few.high - few.low) / 2


@pytest.mark.parametrize(("right", "wrong"), [([], [0.5]), ([0.5], []), ([], [])])
def test_one_kind_alone_has_none(right: list[float], wrong: list[float]) -> None:
    with pytest.raises(ValueError, match="nothing to tell apart"):
        area_under_roc(right, wrong)
