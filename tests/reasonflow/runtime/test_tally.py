"""A vote while its branches still run: decided exactly when the rest cannot change it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest

from reasonflow.errors import AnswerError, RunError
from reasonflow.plan.nodes import Quorum
from reasonflow.runtime.joins import vote
from reasonflow.runtime.tally import Tally, tallies
from reasonflow.runtime.values import Hole

MAJORITY = Quorum(None, str)
HOLE = Hole("branch", RuntimeError("lost"))


def decided(width: int, *came: tuple[int, object], rule: Quorum = MAJORITY) -> bool:
    tally = Tally(rule, width)
    for index, item in came:
        tally.add(index, item)
    return tally.decided


@pytest.mark.parametrize(
    ("width", "came", "expected"),
    [
        (5, [(0, "a"), (1, "a"), (2, "b")], False),  # b could still get three
        (5, [(0, "a"), (1, "a"), (2, "a")], True),
        (8, [(i, "a") for i in range(4)], True),  # the other four could at most tie, and a's first item comes first
        (8, [(i, "a") for i in range(1, 5)], False),  # in a tie the group of item 0 would win
        (8, [(i, "a") for i in range(1, 6)], True),
        (4, [(0, "a"), (1, "a"), (2, "b")], True),  # at most a tie, and a's first item comes first
        (4, [(2, "a"), (3, "a"), (1, "b")], False),  # in a tie b's first item comes first
        (3, [(0, HOLE), (2, "a")], False),
        (3, [(0, "a"), (1, HOLE)], True),
        (2, [(0, HOLE), (1, HOLE)], True),  # nothing is missing: the vote will say that there is no ballot
    ],
)
def test_the_winner_stands_or_does_not(width: int, came: list[tuple[int, object]], expected: bool) -> None:
    assert decided(width, *came) is expected


def test_it_is_decided_exactly_when_no_completion_changes_the_winner() -> None:
    """Over all ways in which four branches can vote for two groups, or fail, and in which some of them are there."""
    values: Sequence[object] = ("a", "b", HOLE)
    for width in (1, 2, 3, 4):
        for there in itertools.product((True, False), repeat=width):
            for votes in itertools.product(values, repeat=sum(there)):
                places = [index for index in range(width) if there[index]]
                came = list(zip(places, votes, strict=True))
                winners = {winner(width, dict(came), rest) for rest in completions(width, places)}
                expected = len(winners) == 1 and (winners != {None} or len(places) == width)
                assert decided(width, *came) == expected, came


@pytest.mark.parametrize("need", [None, 1, 2, 3])
def test_the_winning_item_is_known_exactly_when_no_completion_changes_it(need: int | None) -> None:
    """As above, for the item itself: which of several that agree it is matters, too."""
    rule, values = Quorum(None, lambda item: item[0], need), ("a", "b", HOLE)
    for width in (2, 3, 4):
        for there in itertools.product((True, False), repeat=width):
            for votes in itertools.product(values, repeat=sum(there)):
                places = [index for index in range(width) if there[index]]
                came = {index: v if v is HOLE else f"{v}{index}" for index, v in zip(places, votes, strict=True)}
                tally = Tally(rule, width)
                for index, item in came.items():
                    tally.add(index, item)
                found = {chosen(rule, width, came, rest) for rest in completions(width, places)}
                known = tally.winner is not None
                if known:
                    assert found == {came[tally.winner or 0]}, came
                else:
                    assert len(found) > 1 or found == {None}, came


def chosen(rule: Quorum, width: int, came: dict[int, object], rest: dict[int, object]) -> object:
    """The item that the join chooses, None where it fails."""
    items = [came[index] if index in came else f"{rest[index]}{index}" for index in range(width)]
    try:
        return vote(rule, items)
    except (AnswerError, RunError):
        return None


def test_items_without_a_ballot_leave_the_winner_to_the_vote_itself() -> None:
    tally = Tally(Quorum("answer", str), 3)
    tally.add(0, {"answer": "a"})
    tally.add(1, {"answer": "a"})
    assert tally.winner == 0
    tally.add(2, {})
    assert tally.winner is None


def completions(width: int, places: list[int]) -> list[dict[int, object]]:
    missing = [index for index in range(width) if index not in places]
    # "c" is a group that nobody has voted for; a completion in which a branch fails is one of those with fewer votes
    return [dict(zip(missing, votes, strict=True)) for votes in itertools.product(("a", "b", "c"), repeat=len(missing))]


def winner(width: int, came: dict[int, object], rest: dict[int, object]) -> object:
    items = [{**came, **rest}[index] for index in range(width)]
    return None if all(isinstance(item, Hole) for item in items) else vote(MAJORITY, items)


def test_so_many_that_agree_decide_at_once() -> None:
    need_two = Quorum(None, str, 2)
    assert not decided(8, (0, "a"), (1, "b"), rule=need_two)
    assert decided(8, (0, "a"), (1, "b"), (5, "b"), rule=need_two)


def test_all_rules_must_be_decided_and_enough_items_be_there() -> None:
    two = tallies((MAJORITY, Quorum(None, str, 2)), 5)
    assert [two(index, "a") for index in range(3)] == [False, False, True]
    four = tallies((MAJORITY,), 5, least=4)
    assert [four(0, "a"), four(1, "a"), four(2, "a"), four(3, HOLE), four(4, "b")] == [False, False, False, False, True]
    assert not tallies((), 1)(0, "a"), "where nothing is asked nothing ends early"
