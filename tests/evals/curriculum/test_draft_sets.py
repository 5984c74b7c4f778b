"""Which draft sets are worth learning from, and which drafts are the best of a set."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reasonflow.errors import InputError
from reasonflow.evals.curriculum.draft_sets import DraftSet, best_numbers, choose, shares, sub_set
from reasonflow.evals.curriculum.mistakes import mistaken
from reasonflow.evals.tasks.grading import grade
from tests.evals.curriculum.draft_makers import drafts_of, problem

PROBLEM = problem("mid", 0)
RIGHT, WRONG, OTHER = (f"\\boxed{{{PROBLEM.answer + off}}}" for off in (0, 1, 2))
KINDS = {
    "easy": (RIGHT, RIGHT, WRONG),
    "misled": (RIGHT, WRONG, WRONG),
    "bare": (WRONG, OTHER, WRONG),
    "silent": ("cut", "cut too"),
}


def sets_of(**counts: int) -> list[DraftSet]:
    return [DraftSet(PROBLEM.address, KINDS[kind]) for kind, count in counts.items() for _ in range(count)]


def test_a_set_knows_how_many_drafts_are_right_and_whether_most_agree_wrongly() -> None:
    found = {kind: DraftSet(PROBLEM.address, drafts) for kind, drafts in KINDS.items()}
    assert {kind: each.right for kind, each in found.items()} == {"easy": 2, "misled": 1, "bare": 0, "silent": 0}
    assert [kind for kind, each in found.items() if each.wrong_plurality] == ["misled", "bare"]
    assert found["easy"].item == PROBLEM


def test_only_as_many_easy_sets_are_left_out_as_the_shares_ask_for() -> None:
    chosen = choose(sets_of(easy=80, bare=20), Random(0))
    assert (len(chosen), shares(chosen)["without_right"]) == (66, 20 / 66)
    assert len(choose(sets_of(easy=20, bare=20), Random(0))) == 40


def test_what_counts_for_one_share_only_is_left_out_last() -> None:
    chosen = choose(sets_of(easy=10, misled=60, bare=20), Random(0))
    assert Counter(each.drafts for each in chosen) == {KINDS["misled"]: 46, KINDS["bare"]: 20}


def test_at_least_half_stays_and_the_shares_tell_what_was_reached() -> None:
    chosen = choose(sets_of(easy=95, bare=4, silent=2), Random(0))
    assert len(chosen) == 51
    reached = shares(chosen)
    assert (reached["without_right"], reached["wrong_plurality"]) == (6 / 51, 4 / 51)
    assert choose([], Random(0)) == []


def test_a_share_that_is_reached_is_not_given_up_for_the_other() -> None:
    chosen = choose(sets_of(misled=4, bare=1, silent=1), Random(0), without_right=0.5, wrong_plurality=5 / 6)
    assert len(chosen) == 6


@settings(deadline=None)
@given(*(st.integers(0, 12) for _ in range(4)), st.floats(0, 0.5), st.floats(0, 0.5))
def test_no_larger_choice_reaches_the_shares(
    easy: int, misled: int, bare: int, silent: int, without_right: float, wrong: float
) -> None:
    given_sets = sets_of(easy=easy, misled=misled, bare=bare, silent=silent)
    chosen = choose(given_sets, Random(0), without_right=without_right, wrong_plurality=wrong)
    assert 2 * len(chosen) >= len(given_sets)
    largest = max(
        (
            e + m + b + s
            for e in range(easy + 1)
            for m in range(misled + 1)
            for b in (bare,)
            for s in range(silent + 1)
            if 2 * (e + m + b + s) >= len(given_sets)
            and b + s >= without_right * (e + m + b + s)
            and m + b >= wrong * (e + m + b + s)
        ),
        default=None,
    )
    if largest is not None:
        size = len(chosen)
        assert size == largest
        assert sum(not each.right for each in chosen) >= without_right * size
        assert sum(each.wrong_plurality for each in chosen) >= wrong * size


def test_a_sub_set_has_two_to_eight_of_the_drafts() -> None:
    whole = DraftSet(PROBLEM.address, tuple(str(number) for number in range(12)))
    random = Random(0)
    some = [sub_set(whole, random).drafts for _ in range(200)]
    assert {len(drafts) for drafts in some} == set(range(2, 9))
    assert all(len(set(drafts)) == len(drafts) and set(drafts) <= set(whole.drafts) for drafts in some)
    assert {drafts[0] for drafts in some} == set(whole.drafts)
    small = DraftSet(PROBLEM.address, ("a", "b", "c"))
    assert {len(sub_set(small, random).drafts) for _ in range(20)} == {2, 3}


def test_a_set_of_one_draft_has_no_sub_set() -> None:
    with pytest.raises(InputError, match="has 1 drafts"):
        sub_set(DraftSet(PROBLEM.address, ("a",)), Random(0))


@pytest.mark.parametrize("mix", ["mid", "breadth", "length", "constraints"])
def test_the_best_drafts_are_right_first_and_then_those_with_more_right_quantities(mix: str) -> None:
    random = Random(mix)
    for index in range(6):
        found = problem(mix, index)
        drafts = drafts_of(found, random, 6)
        numbers = [int(number) for number in best_numbers(found, drafts, 6).split(", ")]
        assert sorted(numbers) == [1, 2, 3, 4, 5, 6]
        marks = [grade(found.content, drafts[number - 1]) for number in numbers]
        ranks = [(not mark.correct, -mark.share, number) for mark, number in zip(marks, numbers, strict=True)]
        assert ranks == sorted(ranks)


def test_of_equal_drafts_the_earlier_is_better() -> None:
    right, wrong = PROBLEM.solution(Random(0)), mistaken(PROBLEM.content, Random(0))
    assert best_numbers(PROBLEM, [wrong, right, right, wrong], 3) == "2, 3, 1"
    assert best_numbers(PROBLEM, [wrong, right], 5) == "2, 1"
