"""Ledgers: reserved before, settled after, never beyond a limit anywhere on the way up."""

from __future__ import annotations

import asyncio

import pytest

import reasonflow as rf
from reasonflow.runtime.ledger import Amount, Hold, Ledger


def held(hold: Hold | None) -> Hold:
    assert hold is not None
    return hold


def test_what_a_call_did_not_use_flows_back() -> None:
    ledger = Ledger(rf.Budget(total=100, calls=3))
    hold = held(ledger.reserve(Amount(total=60, calls=1)))
    assert (ledger.room("total"), ledger.room("calls")) == (40, 2)
    assert ledger.reserve(Amount(total=41, calls=1)) is None
    assert ledger.held == Amount(total=60, calls=1), "a refused reservation leaves nothing behind"
    hold.settle(Amount(total=20, calls=1))
    assert ledger.room("total") == 80
    assert ledger.spent == Amount(total=20, calls=1)
    assert ledger.held == Amount()


def test_a_reservation_stands_in_every_ledger_on_the_way_up_or_in_none() -> None:
    outer = Ledger(rf.Budget(total=100))
    left, right = Ledger(rf.Budget(calls=5), outer), Ledger(rf.Budget(total=80), outer)
    hold = held(left.reserve(Amount(total=70, calls=2)))
    assert (outer.room("total"), right.room("total"), left.room("calls")) == (30, 30, 3)
    assert right.reserve(Amount(total=40, calls=1)) is None
    assert right.held == Amount()
    hold.settle(Amount(total=10, calls=2))
    assert (outer.spent.total, left.spent.total, right.spent.total) == (10, 10, 0)
    assert right.room("total") == 80
    assert left.limits("total")
    assert not left.limits("dollars")
    assert left.room("dollars") == float("inf")


def test_an_hourly_price_makes_money_a_deadline() -> None:
    ledger = Ledger(rf.Budget(dollars=0.5))
    assert ledger.seconds_left() == float("inf")
    assert ledger.seconds_left(dollars_per_hour=3_600) == pytest.approx(0.5, abs=0.05)
    inner = Ledger(rf.Budget(seconds=0.2), ledger)
    assert inner.seconds_left(dollars_per_hour=3_600) == pytest.approx(0.2, abs=0.05)


def test_whoever_waits_hears_of_a_settlement_anywhere_in_the_tree() -> None:
    async def main() -> list[str]:
        outer = Ledger(rf.Budget(total=100))
        left, right = Ledger(rf.Budget(), outer), Ledger(rf.Budget(), outer)
        await right.settlement()  # nothing is held: at once
        heard: list[str] = []
        hold = held(left.reserve(Amount(total=100, calls=1)))

        async def wait() -> None:
            while right.reserve(Amount(total=50, calls=1)) is None:
                await right.settlement()
                heard.append("settled")

        waiting = asyncio.ensure_future(wait())
        await asyncio.sleep(0.01)
        assert heard == []
        hold.settle(Amount(total=50, calls=1))
        await asyncio.wait_for(waiting, 1)
        return heard

    assert asyncio.run(main()) == ["settled"]


def test_a_limit_names_its_parts_and_what_is_around_it() -> None:
    with rf.limit(total=50) as outer, rf.limit(rf.Budget(calls=2)) as inner:
        assert inner.parent is outer
        assert str(inner) == "2 calls; within 50 total tokens"
