"""Areas under F1 over turns, calls and tokens: worked by hand, and laws."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasonflow.errors import InputError
from reasonflow.evals.qa.area import CALLS, TOKENS, AreaForm, area, auc_ac, auc_al, auc_at

FORMS: list[AreaForm] = ["paper", "code"]
SCORES = st.floats(0, 100)


@pytest.mark.parametrize("form", FORMS)
def test_three_turns_of_ten_keep_eight_tenths_of_the_score(form: AreaForm) -> None:
    assert auc_at(60, 3, form=form) == pytest.approx(48)
    assert auc_at(60, 3, cap=4, form=form) == pytest.approx(30)
    assert auc_at(60, 10, form=form) == pytest.approx(6)


def test_calls_are_over_two_to_sixteen() -> None:
    # Budgets 5 to 16 are twelve of fifteen.
    assert auc_ac(60, 5) == pytest.approx(48)
    assert auc_ac(60, 0) == auc_ac(60, 2) == pytest.approx(60)
    assert auc_ac(60, 16) == pytest.approx(4)


def test_tokens_are_over_five_bins_and_scaled() -> None:
    # 900, 1200 and 1500 are three of five.
    assert auc_al(60, 900) == pytest.approx(60 * 3 / 5 * 500)
    assert auc_al(60, 0) == pytest.approx(30_000)


@pytest.mark.parametrize(
    ("used", "paper", "code"),
    [
        # Of 599 tokens the code makes 300, its first bin; beyond the last budget it credits the last.
        (599, 4 / 5, 5 / 5),
        (300, 5 / 5, 5 / 5),
        (301, 4 / 5, 5 / 5),
        (1500, 1 / 5, 1 / 5),
        (1501, 0.0, 1 / 5),
        (9999, 0.0, 1 / 5),
    ],
)
def test_where_the_code_differs_from_the_paper(used: int, paper: float, code: float) -> None:
    assert area(1, used, TOKENS, form="paper") == pytest.approx(paper)
    assert area(1, used, TOKENS, form="code") == pytest.approx(code)


@given(score=SCORES, used=st.integers(0, 2000), form=st.sampled_from(FORMS))
def test_an_area_is_at_most_the_score_and_never_rises_with_what_is_used(
    score: float, used: int, form: AreaForm
) -> None:
    for budgets in (range(1, 11), CALLS, TOKENS):
        assert 0 <= area(score, used + 1, budgets, form=form) <= area(score, used, budgets, form=form) <= score + 1e-9


@given(st.lists(st.tuples(SCORES, st.integers(0, 20)), min_size=1, max_size=8))
def test_the_area_of_a_set_is_the_mean_of_its_runs(runs: list[tuple[float, int]]) -> None:
    # As the script does it: the mean score at each budget first, then their mean.
    at_budget = [
        sum(score for score, turns in runs if max(1, min(10, turns)) <= budget) / len(runs) for budget in range(1, 11)
    ]
    mean = sum(auc_at(score, turns) for score, turns in runs) / len(runs)
    assert mean == pytest.approx(sum(at_budget) / 10)


def test_nothing_can_be_used_less_than_not_at_all() -> None:
    with pytest.raises(InputError, match="-1 used"):
        auc_at(60, -1)
    with pytest.raises(InputError, match="0 budgets"):
        auc_at(60, 1, cap=0)
