"""Budgets: what may be written, and what it means."""

from __future__ import annotations

import pytest

import reasonflow as rf
from reasonflow.errors import InputError, UnknownName


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("total=20k,calls=32", {"total": 20_000, "calls": 32}),
        ("seconds=2m", {"seconds": 120.0}),
        ("seconds=1.5h", {"seconds": 5_400.0}),
        ("seconds=90s", {"seconds": 90.0}),
        ("seconds=2min", {"seconds": 120.0}),
        ("sequential=1.5m", {"sequential": 1_500_000}),
        (" total = 1_000 , dollars = $0.5 ", {"total": 1_000, "dollars": 0.5}),
        ("calls=1B", {"calls": 1_000_000_000}),
    ],
)
def test_a_budget_is_read_as_people_write_it(text: str, limits: dict[str, float]) -> None:
    assert rf.Budget.parse(text) == rf.Budget(**limits)  # type: ignore[arg-type]
    assert rf.Budget.parse(text).limits == limits


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("20k", "not of the form"),
        ("", "not of the form"),
        ("total=many", "no amount"),
        ("total=2h", "no amount"),
        ("seconds=2k", "no amount"),
        ("total=-5", "no amount"),
        ("total=$5", "no amount"),
        ("total=0", "no limit"),
        ("calls=0.5", "no limit"),
        ("total=1,total=2", "twice"),
    ],
)
def test_what_is_no_budget_says_what_would_be_one(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        rf.Budget.parse(text)
    assert caught.value.fix


def test_an_unknown_limit_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UnknownName, match="did you mean 'total'"):
        rf.Budget.parse("totals=5")


@pytest.mark.parametrize("limits", [{"total": 0}, {"calls": -1}, {"total": 1.5}, {"calls": True}, {"seconds": "2m"}])
def test_limits_are_positive_numbers(limits: dict[str, object]) -> None:
    with pytest.raises(InputError, match="is no limit"):
        rf.Budget(**limits)  # type: ignore[arg-type]


def test_it_reads_as_a_sentence_part() -> None:
    budget = rf.Budget(sequential=16_000, total=100_000, calls=32, seconds=90, dollars=0.5)
    assert str(budget) == "16,000 sequential tokens, 100,000 total tokens, 32 calls, 90 s, $0.5"
    assert str(rf.Budget()) == "no limit"
