"""What is mixed to spend a number of tokens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasonflow.evals.matched_budget import Mix, mix_at


def test_neighbours_are_mixed_in_the_share_that_spends_the_tokens() -> None:
    assert mix_at([100, 200, 400], 250) == Mix(1, 2, 0.25)
    assert mix_at([400, 100, 200], 250) == Mix(2, 0, 0.25)  # in any order
    assert mix_at([100, 200, 400], 200) == Mix(1, 1, 0.0)


def test_below_the_cheapest_is_nothing_and_beyond_the_dearest_is_said() -> None:
    assert mix_at([100, 200], 99) is None
    assert mix_at([], 99) is None
    assert mix_at([100, 200], 500) == Mix(1, 1, 0.0, short=True)


def test_of_points_that_cost_the_same_the_last_counts() -> None:
    assert mix_at([100, 100, 100], 100) == Mix(2, 2, 0.0)
    assert mix_at([50, 100, 100], 75) == Mix(0, 2, 0.5)


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=8), st.integers(1, 1200))
def test_the_mix_spends_exactly_that(costs: list[int], tokens: int) -> None:
    mix = mix_at(costs, tokens)
    if tokens < min(costs):
        assert mix is None
    else:
        assert mix is not None
        assert 0 <= mix.share <= 1
        assert mix.short == (tokens > max(costs))
        assert mix.of(costs[mix.low], costs[mix.high]) == pytest.approx(min(tokens, max(costs)))
