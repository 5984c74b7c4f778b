"""maj@k against every order of every subset, as `rf.vote` counts them."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reasonflow.errors import AnswerError
from reasonflow.evals.at_k import majority
from reasonflow.evals.at_k.majority import Expected, majority_at
from reasonflow.plan.nodes import Vote
from reasonflow.prompts.canonical import canonical
from reasonflow.runtime.joins import vote

WORTH = {"a": 1.0, "b": 0.0, "c": 0.0, "d": 0.5}
rows = st.lists(st.sampled_from(["a", "a", "b", "b", "c", "d", None]), min_size=1, max_size=6)


def voted(subset: tuple[str | None, ...]) -> float:
    """What the runtime's own vote gives, one order at a time."""
    try:
        return WORTH[vote(Vote(by=None, normalise=canonical), subset)]
    except AnswerError:
        return 0.0


@given(rows, st.data())
@settings(deadline=None)
def test_it_is_the_mean_of_the_runtimes_vote_over_all_orders(row: list[str | None], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(row)))
    found = [voted(subset) for subset in permutations(row, k)]
    exact = majority_at(row, [WORTH.get(ballot or "", 0.0) for ballot in row], k)
    assert exact.error == 0
    assert exact.value == pytest.approx(sum(found) / len(found))


def test_values_worked_by_hand() -> None:
    assert majority_at(["a", "a", "b"], [1, 1, 0], 2).value == pytest.approx(2 / 3)  # aa wins, ab and ab are split
    assert majority_at(["a", "b", "b"], [1, 0, 0], 3).value == 0.0
    assert majority_at(["a", "a", "b", "b"], [1, 1, 0, 0], 4).value == 0.5
    assert majority_at([None, None, "a"], [0, 0, 1], 2).value == pytest.approx(2 / 3)  # one vote is a majority


def test_one_of_k_is_the_mean_and_two_are_no_better() -> None:
    row, values = ["a"] * 5 + ["b"] * 2 + ["c"] * 3, [1.0] * 5 + [0.0] * 5
    assert majority_at(row, values, 1).value == pytest.approx(0.5)
    assert majority_at(row, values, 2).value == pytest.approx(0.5)
    assert majority_at(row, values, 3).value > 0.5


def test_samples_of_one_answer_that_differ_in_worth_count_with_their_mean() -> None:
    assert majority_at(["a", "a"], [1, 0], 2).value == 0.5


def test_a_monte_carlo_comes_within_its_stated_error_and_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    row = ["a"] * 9 + ["b"] * 7 + ["c"] * 6 + [None] * 2
    values = [1.0] * 9 + [0.0] * 15
    exact = majority_at(row, values, 7)
    monkeypatch.setattr(majority, "EXACT_STEPS", 0)
    drawn = majority_at(row, values, 7, seed=(3, 1))
    most = (exact.value * (1 - exact.value) / majority.SUBSETS) ** 0.5  # of a yes or no; ties are split, and vary less
    assert 0.8 * most < drawn.error < most
    assert abs(drawn.value - exact.value) < 4 * drawn.error
    assert drawn == majority_at(row, values, 7, seed=(3, 1))
    assert drawn != majority_at(row, values, 7, seed=(3, 2))


def test_votes_of_64_are_counted_and_beyond_512_drawn() -> None:
    assert majority_at(["a"] * 40 + ["b"] * 24, [1.0] * 40 + [0.0] * 24, 33).error == 0
    many = majority_at(["a"] * 400 + ["b"] * 200, [1.0] * 400 + [0.0] * 200, 3)
    assert many.error > 0
    assert many.value == pytest.approx(20 / 27, abs=5 * many.error)  # nearly independent draws: 8/27 + 12/27


def test_a_monte_carlo_is_never_called_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(majority, "EXACT_STEPS", 0)
    assert majority_at(["a"] * 5, [1.0] * 5, 3) == Expected(1.0, 1 / majority.SUBSETS)


def test_without_a_vote_nothing_is_right() -> None:
    assert majority_at([None, None], [0, 0], 2) == Expected(0.0)


@pytest.mark.parametrize(("ballots", "values", "k"), [([], [], 1), (["a"], [1], 2), (["a"], [1], 0), (["a"], [], 1)])
def test_what_no_subset_holds_is_refused(ballots: list[str], values: list[float], k: int) -> None:
    with pytest.raises(ValueError, match="samples of"):
        majority_at(ballots, values, k)
