"""One stretch of a run that can be cut short by itself: a whole run, or what stands in `rf.within(...)`.

A scope that is stopped makes no further model call and takes those under way out of the engine; everything else runs to
its end on what there is, so that what had finished is not lost: a vote is held among the branches that were done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio

from reasonflow.errors import BudgetExceeded
from reasonflow.plan.forecast import Level
from reasonflow.runtime.ledger import Ledger
from reasonflow.runtime.values import FREE, Cost, Record


class Scope:
    """What the parts of a run under one budget share. One loop's object: not thread-safe."""

    def __init__(self, ledger: Ledger | None, parent: Scope | None = None, entry: Cost = FREE) -> None:
        self.ledger = ledger
        """None where nothing limits the run."""
        self.parent = parent
        self.entry = entry
        """The way to where it begins: its sequential tokens count from there."""
        self.answer: tuple[Any, Cost] | None = None
        """The latest one marked inside it."""
        self.stopped: BudgetExceeded | None = None
        self.planned: Level | None = None
        """The level its budget allowed all its calls when it began."""
        self._calls: set[anyio.CancelScope] = set()
        self._below: set[Scope] = set()

    def sequential_room(self, before: Cost) -> float:
        """Tokens the longest way to here leaves of this scope's own sequential budget; infinite where it has none."""
        if self.ledger is None:
            return float("inf")
        limits = [self.ledger.budget.sequential]
        if self.parent is None:  # budgets around the run limit each run
            limits += [ledger.budget.sequential for ledger in self.ledger.chain()]
        least = min((limit for limit in limits if limit is not None), default=None)
        return float("inf") if least is None else least - (before.sequential - self.entry.sequential)

    def way_room(self, before: Cost) -> float:
        """Tokens that the sequential budgets of this scope and of those around it leave behind the longest way here."""
        around = float("inf") if self.parent is None else self.parent.way_room(before)
        return min(self.sequential_room(before), around)

    def reach(self, value: Any, cost: Cost) -> None:
        """An answer was marked. One that could not be read does not replace an earlier one."""
        if self.answer is None or not isinstance(value, Record) or None not in value.fields.values():
            self.answer = (value, cost)

    def stop(self, error: BudgetExceeded) -> None:
        """Make no further call here and in the scopes inside, and end those under way. Idempotent."""
        if self.stopped is not None:
            return
        self.stopped = error
        for call in list(self._calls):
            call.cancel()
        for scope in list(self._below):
            scope.stop(error)

    def check(self) -> None:
        """Raise what stopped the scope, if something did."""
        if self.stopped is not None:
            raise self.stopped.anew()

    @contextmanager
    def call(self) -> Iterator[anyio.CancelScope]:
        """Around one model call: what it waits for ends when the scope is stopped, or when its own scope is cancelled.

        A stop is not raised here: the caller has finished samples to save first, then asks `check`.
        """
        with anyio.CancelScope() as calling:
            self._calls.add(calling)
            try:
                yield calling
            finally:
                self._calls.discard(calling)

    @contextmanager
    def deadline(self, seconds: float, error: BudgetExceeded) -> Iterator[None]:
        """Stop the scope after so many seconds, unless the block has ended by then."""
        if seconds == float("inf"):
            yield
            return
        timer = asyncio.get_running_loop().call_later(max(0.0, seconds), self.stop, error)
        try:
            yield
        finally:
            timer.cancel()

    @contextmanager
    def inside(self, ledger: Ledger, entry: Cost) -> Iterator[Scope]:
        """A scope within this one."""
        inner = Scope(ledger, self, entry)
        inner.stopped = self.stopped
        self._below.add(inner)
        try:
            yield inner
        finally:
            self._below.discard(inner)
