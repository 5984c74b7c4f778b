"""The best of k by a score, against every order of every subset."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasonflow.evals.at_k.best_of import best_of_at

rows = st.lists(
    st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([None, -1.0, 0.3, 0.9])), min_size=1, max_size=6
)


def first_of_the_best(subset: tuple[tuple[float, float | None], ...]) -> float:
    """As `BestOfN` chooses: the earlier one among equals, nothing without a score."""
    scored = [(value, score) for value, score in subset if score is not None]
    return max(scored, key=lambda pair: pair[1])[0] if scored else 0.0


@given(rows, st.data())
def test_it_is_the_mean_over_all_orders(row: list[tuple[float, float | None]], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(row)))
    found = [first_of_the_best(subset) for subset in permutations(row, k)]
    values, scores = zip(*row, strict=True)
    assert best_of_at(values, scores, k) == pytest.approx(sum(found) / len(found))


def test_values_worked_by_hand() -> None:
    # Of the 6 pairs, 3 hold the best score, 2 more the second, 1 the third.
    assert best_of_at([1, 0, 1, 0], [4, 3, 2, 1], 2) == pytest.approx((3 * 1 + 2 * 0 + 1 * 1) / 6)
    assert best_of_at([1, 0], [7, 7], 2) == 0.5
    assert best_of_at([1, 1], [None, None], 1) == 0.0


def test_with_the_values_as_scores_it_is_the_mean_maximum() -> None:
    assert best_of_at([10, 20, 40], [10, 20, 40], 2) == pytest.approx((20 + 40 + 40) / 3)


@pytest.mark.parametrize(("values", "scores", "k"), [([], [], 1), ([1], [1], 2), ([1], [1], 0), ([1, 0], [1], 1)])
def test_what_no_subset_holds_is_refused(values: list[float], scores: list[float], k: int) -> None:
    with pytest.raises(ValueError, match="samples of"):
        best_of_at(values, scores, k)
