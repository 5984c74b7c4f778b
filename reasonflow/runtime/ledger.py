"""What budgets have left: spending is reserved before a call and settled after it; a ledger's children draw on it.

A reservation stands in every ledger on the way up, or in none. Ledgers may be shared by runs on several engines, each
on a loop of its own, so a tree of them has one lock.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from reasonflow.plan.budget import Budget
from reasonflow.runtime.ambient import ambient, surrounded


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """What calls take of a budget."""

    total: int = 0
    """Input and output tokens."""
    calls: int = 0
    dollars: float = 0.0

    def __add__(self, other: Amount) -> Amount:
        return Amount(
            total=self.total + other.total, calls=self.calls + other.calls, dollars=self.dollars + other.dollars
        )

    def __sub__(self, other: Amount) -> Amount:
        return Amount(
            total=self.total - other.total, calls=self.calls - other.calls, dollars=self.dollars - other.dollars
        )


NOTHING = Amount()


class Hold:
    """A reservation. Settle it exactly once, with what was really spent: the rest flows back."""

    __slots__ = ("_ledger", "amount")

    def __init__(self, ledger: Ledger, amount: Amount) -> None:
        self._ledger = ledger
        self.amount = amount

    def settle(self, spent: Amount) -> None:
        """Never more than was reserved, but for what an engine that cannot count ahead reports."""
        self._ledger._settle(self.amount, spent)


class Ledger:
    """One budget and what was spent of it, in all ledgers below it too."""

    def __init__(self, budget: Budget, parent: Ledger | None = None, *, remembers: bool = False) -> None:
        """remembers: what an earlier session has recorded is in what it and those above it have spent already."""
        self.budget = budget
        self.parent = parent
        self.remembers = remembers
        self.spent = NOTHING
        """Settled."""
        self.held = NOTHING
        """Reserved and not yet settled."""
        self.began = time.perf_counter()
        self._root: Ledger = parent._root if parent is not None else self
        if parent is None:
            self._lock = threading.Lock()
            self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    def room(self, name: str) -> float:
        """What is left of `total`, `calls` or `dollars`: the least along the way up; infinite where nothing limits."""
        least = float("inf")
        for ledger in self.chain():
            limit = getattr(ledger.budget, name)
            if limit is not None:
                least = min(least, limit - getattr(ledger.spent, name) - getattr(ledger.held, name))
        return least

    def limits(self, name: str) -> bool:
        """Whether this or a ledger above it limits `name`."""
        return any(getattr(ledger.budget, name) is not None for ledger in self.chain())

    def seconds_left(self, dollars_per_hour: float = 0.0) -> float:
        """Until the earliest deadline along the way up; infinite where there is none.

        An hourly price makes a budget in dollars one of time.
        """
        least, now = float("inf"), time.perf_counter()
        for ledger in self.chain():
            limits = [ledger.budget.seconds]
            if ledger.budget.dollars is not None and dollars_per_hour:
                limits.append(ledger.budget.dollars / dollars_per_hour * 3600)
            least = min([least, *(limit - (now - ledger.began) for limit in limits if limit is not None)])
        return least

    def reserve(self, amount: Amount) -> Hold | None:
        """A reservation in every ledger on the way up; None, and nothing reserved, where one of them has no room."""
        with self._root._lock:
            for ledger in self.chain():
                if not ledger._has_room(amount):
                    return None
            for ledger in self.chain():
                ledger.held += amount
        return Hold(self, amount)

    def recall(self, amount: Amount) -> bool:
        """Count a call that is found recorded, up to the ledgers that remember it; False where one has no room."""
        with self._root._lock:
            unaware = list(takewhile(lambda ledger: not ledger.remembers, self.chain()))
            if not all(ledger._has_room(amount) for ledger in unaware):
                return False
            for ledger in unaware:
                ledger.spent += amount
        return True

    def give_back(self, amount: Amount) -> None:
        """Take back what was settled here and above, and has not been spent after all."""
        self._settle(NOTHING, NOTHING - amount)

    def spares(self, amount: Amount, share: float) -> bool:
        """Whether that is no more than this share of what is left."""
        return all(getattr(amount, name) <= share * self.room(name) for name in ("total", "calls", "dollars"))

    def waits_for_settlements(self) -> bool:
        """Whether calls of this ledger's tree are under way, whose settlement may give something back."""
        return self._root.held.calls > 0

    async def settlement(self) -> None:
        """Return after the next settlement anywhere in the tree; at once if nothing is held any more."""
        event = asyncio.Event()
        entry = (asyncio.get_running_loop(), event)
        root = self._root
        with root._lock:
            if not root.held.calls:
                return
            root._waiting.add(entry)
        try:
            await event.wait()
        finally:
            with root._lock:
                root._waiting.discard(entry)

    def chain(self) -> Iterator[Ledger]:
        """This ledger and those above it."""
        ledger: Ledger | None = self
        while ledger is not None:
            yield ledger
            ledger = ledger.parent

    def _has_room(self, amount: Amount) -> bool:
        taken = self.spent + self.held + amount
        return all(
            limit is None or getattr(taken, name) <= limit
            for name in ("total", "calls", "dollars")
            for limit in (getattr(self.budget, name),)
        )

    def _settle(self, held: Amount, spent: Amount) -> None:
        root = self._root
        with root._lock:
            for ledger in self.chain():
                ledger.held -= held
                ledger.spent += spent
            waiting = list(root._waiting)
        for loop, event in waiting:
            try:
                loop.call_soon_threadsafe(event.set)
            except RuntimeError:  # its engine was closed, and with it everybody who waited there
                continue

    def __str__(self) -> str:
        return "; within ".join(str(ledger.budget) for ledger in self.chain() if ledger.budget.limits)

    def __deepcopy__(self, memo: dict[int, Any]) -> Ledger:
        return self  # travels in DSPy's settings, which are copied


@contextmanager
def limit(budget: Budget | None = None, **limits: Any) -> Iterator[Ledger]:
    """Everything that runs inside draws on one budget: `with rf.limit(total=100_000) as ledger: ...`.

    budget: or its limits by name: sequential (of each run), total, calls, seconds, dollars. A nested one draws on the
        one around it. `ledger.spent` tells what was spent. Programs see it also in the threads of `dspy.Evaluate` and
        `dspy.Parallel`, and where they are called from functions of other programs.
    """
    given = Budget(**limits) if budget is None else budget
    ledger = Ledger(given, ambient().ledger)
    with surrounded(ledger=ledger):
        yield ledger
