"""What one call gets of a budget while the rest of the plan is still to come, counted by hand.

A chain of three calls: prompts of 10 tokens of template, 5 of input, and the whole text of the call before.
"""

from __future__ import annotations

from typing import Any

import pytest

import reasonflow as rf
from reasonflow.language.program import trace
from reasonflow.plan.forecast import Costs, Size
from reasonflow.plan.nodes import Generate
from reasonflow.runtime.allotment import Allotment, Allotter, Ask
from reasonflow.runtime.frames import Frame
from reasonflow.runtime.ledger import Amount, Ledger
from reasonflow.runtime.price import FREE_OF_CHARGE
from reasonflow.runtime.scope import Scope
from reasonflow.runtime.values import FREE, Cost

COSTS = Costs(template_tokens=lambda site: 10, max_tokens=lambda site: None, window=8_192)
STEP = 1.05
"""Between levels."""


class Chain(rf.Program):
    """A draft, or several, and two refinements."""

    def __init__(self, n: int | None = None, least: int | None = None) -> None:
        self.draft = rf.Generate("problem -> answer", floor_tokens=20, temperature=0.7)
        self.refine = rf.Generate("problem, earlier -> answer", floor_tokens=20)
        self.n, self.least = n, least

    def plan(self, problem: Any) -> Any:
        drafts = (
            self.draft(problem=problem, n=self.n, min_branches=self.least) if self.n else self.draft(problem=problem)
        )
        once = self.refine(problem=problem, earlier=drafts.text)
        return self.refine(problem=problem, earlier=once.text)


class Desk:
    """A run of the chain at a moment of the test's choosing."""

    def __init__(self, budget: rf.Budget, program: rf.Program) -> None:
        self.plan = trace(program).plan
        self.ledger = Ledger(budget)
        self.frame = Frame(self.plan, Scope(self.ledger))
        self.allotter = Allotter(self.plan, lambda: [Size(5)], COSTS, FREE_OF_CHARGE)

    def ask(self, name: str, prompt: int, before: int = 0) -> Allotment:
        """What the call gets, which begins now."""
        position = next(i for i, node in enumerate(self.plan.nodes) if node.name == name)
        op = self.plan.nodes[position].op
        assert isinstance(op, Generate)
        self.frame.begun[position] += 1
        ask = Ask(
            op=op,
            before=Cost(sequential=before) if before else FREE,
            prompt=lambda cap: prompt,
            own_cap=None,
            width=op.n or 1,
            least=op.min_branches or 1,
        )
        return self.allotter.call(ask, self.frame, position)

    def take(self, total: int, calls: int = 1, *, spent: int | None = None) -> None:
        """Reserve, and settle at once where `spent` says what it took."""
        hold = self.ledger.reserve(Amount(total=total, calls=calls))
        assert hold is not None
        if spent is not None:
            hold.settle(Amount(total=spent, calls=calls))


def near(cap: int, most: float) -> bool:
    """Whether a cap is the highest of the levels, which lie a twentieth apart, below `most`."""
    return most / STEP - 1 <= cap <= most


def test_a_call_leaves_to_those_after_it_as_much_as_it_takes() -> None:
    for budget in (rf.Budget(sequential=1_000), rf.Budget(total=1_000)):
        # 15 + L, then 15 + L + L twice: 45 + 5 L within 1,000
        assert near(Desk(budget, Chain()).ask("draft", 15).cap, 955 / 5)


def test_what_an_earlier_call_left_over_is_shared_by_the_later_ones() -> None:
    desk = Desk(rf.Budget(total=1_000), Chain())
    first = desk.ask("draft", 15)
    desk.take(15 + first.cap, spent=15 + 30)
    # it wrote 30 only: the prompt is 15 + 30; then 45 + L + (15 + L + L) within 955
    assert near(desk.ask("refine", 45).cap, 895 / 3)


def test_a_long_way_here_leaves_less_of_the_path() -> None:
    desk = Desk(rf.Budget(sequential=1_000), Chain())
    desk.frame.begun[next(i for i, n in enumerate(desk.plan.nodes) if n.name == "draft")] = 1
    assert near(desk.ask("refine", 45, before=700).cap, (1_000 - 700 - 45 - 15) / 3)


def test_branches_go_only_when_all_are_at_their_floors() -> None:
    # five drafts at the floor take 5 × 35, and the rest 15 + 5 × 20 + 20 and 15 + 20 + 20: 365
    whole = Desk(rf.Budget(total=370), Chain(5)).ask("draft", 15)
    assert (whole.width, whole.cap) == (5, 20)
    fewer = Desk(rf.Budget(total=330), Chain(5)).ask("draft", 15)
    assert (fewer.width, fewer.cap) == (4, 21)  # 4 × 36 + 15 + 84 + 21 + 57 = 321; with 22 tokens each 332
    kept = Desk(rf.Budget(total=330), Chain(5, least=5)).ask("draft", 15)
    assert kept.width == 0, "five are needed, and five do not fit"


def test_calls_are_counted_too() -> None:
    assert Desk(rf.Budget(calls=7), Chain(5)).ask("draft", 15).width == 5
    assert Desk(rf.Budget(calls=4), Chain(5)).ask("draft", 15).width == 2, "two calls come after it"


def test_waiting_helps_only_where_something_can_flow_back() -> None:
    shared = Desk(rf.Budget(total=1_000), Chain())
    shared.take(900)  # of another run, and not yet settled
    assert shared.ask("draft", 15).spendable
    path = Desk(rf.Budget(sequential=1_000), Chain())
    path.take(900)
    assert not path.ask("draft", 15).spendable, "the path is as long as it is"
    too_long = Desk(rf.Budget(sequential=50), Chain())
    too_long.take(900)
    refused = too_long.ask("draft", 15)
    assert (refused.width, refused.spendable) == (0, False)


def test_enough_is_complete() -> None:
    found = Desk(rf.Budget(total=1_000_000), Chain()).ask("draft", 15)
    assert (found.complete, found.spendable, found.cap) == (True, False, 8_192)


@pytest.mark.parametrize("least", [None, 3])
def test_a_fork_starts_as_many_branches_as_have_room(least: int | None) -> None:
    class Forked(Chain):
        def plan(self, problem: Any) -> Any:
            return {"all": rf.fork(8, lambda: self.draft(problem=problem).answer, min_branches=least)}

    desk = Desk(rf.Budget(total=80), Forked())
    position, op = next((i, n.op) for i, n in enumerate(desk.plan.nodes) if type(n.op).__name__ == "Fork")
    desk.frame.begun[position] = 1
    assert desk.allotter.branches(op, 8, desk.frame, position) == (least or 2)  # a branch takes 35
