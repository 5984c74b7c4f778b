"""pass@k and G-Pass@k against every subset, and against values worked by hand."""

from __future__ import annotations

from itertools import combinations
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasonflow.evals.at_k.passing import g_pass_at, mg_pass_at, pass_at

cases = st.integers(1, 9).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n), st.integers(1, n)))


def subsets(right: int, drawn: int, k: int) -> list[int]:
    """How many of every subset of k are right."""
    return [sum(subset) for subset in combinations([1] * right + [0] * (drawn - right), k)]


@given(cases)
def test_pass_at_k_is_the_share_of_subsets_with_a_right_one(case: tuple[int, int, int]) -> None:
    found = subsets(*case)
    assert pass_at(*case) == pytest.approx(sum(right >= 1 for right in found) / len(found))


@given(cases, st.integers(1, 20))
def test_g_pass_is_the_share_of_subsets_with_enough_right_ones(case: tuple[int, int, int], twentieths: int) -> None:
    found, least = subsets(*case), ceil(twentieths * case[2] / 20 - 1e-9)
    assert g_pass_at(*case, share=twentieths / 20) == pytest.approx(sum(each >= least for each in found) / len(found))


@given(cases)
def test_mg_pass_is_twice_the_mean_of_the_upper_half(case: tuple[int, int, int]) -> None:
    found, k = subsets(*case), case[2]
    tails = [sum(each >= least for each in found) / len(found) for least in range(ceil(k / 2) + 1, k + 1)]
    assert mg_pass_at(*case) == pytest.approx(2 / k * sum(tails))


def test_values_worked_by_hand() -> None:
    assert pass_at(1, 4, 2) == 0.5  # 3 of the 6 pairs hold it
    assert pass_at(3, 10, 5) == pytest.approx(11 / 12)  # 1 - 21 / 252
    assert g_pass_at(2, 4, 2, 1.0) == pytest.approx(1 / 6)  # one pair is both
    assert g_pass_at(5, 10, 4, 0.75) == pytest.approx(55 / 210)  # 50 of three, 5 of four
    assert mg_pass_at(5, 10, 4) == pytest.approx(0.5 * (55 + 5) / 210)
    assert mg_pass_at(7, 7, 4) == 1.0
    assert mg_pass_at(7, 7, 5) == pytest.approx(0.8)  # odd k: the published sum lacks a term
    assert mg_pass_at(7, 7, 1) == 0.0


def test_shares_mean_what_is_written() -> None:
    assert 0.55 * 100 > 55
    assert g_pass_at(55, 100, 100, 0.55) == 1.0
    assert g_pass_at(54, 100, 100, 0.55) == 0.0
    assert g_pass_at(1, 8, 8, 0.0) == pass_at(1, 8, 8) == 1.0
    assert g_pass_at(0, 8, 8, 0.0) == 0.0


def test_thousands_of_samples_are_no_overflow() -> None:
    assert pass_at(1, 4000, 2000) == pytest.approx(0.5)
    assert g_pass_at(2000, 4000, 1999, 0.5) == pytest.approx(0.5)


@pytest.mark.parametrize(("right", "drawn", "k"), [(0, 0, 1), (2, 1, 1), (-1, 3, 1), (1, 3, 0), (1, 3, 4)])
def test_what_no_subset_holds_is_refused(right: int, drawn: int, k: int) -> None:
    for figure in (pass_at, mg_pass_at, lambda *case: g_pass_at(*case, share=0.5)):
        with pytest.raises(ValueError, match="samples of"):
            figure(right, drawn, k)
    with pytest.raises(ValueError, match="no share"):
        g_pass_at(1, 2, 1, 1.5)
