"""Where in a run a plan is evaluated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from reasonflow.plan.nodes import Plan
from reasonflow.runtime.frames import Frame
from reasonflow.runtime.scope import Scope
from reasonflow.runtime.values import FREE, Cost, Furthest

Outcome = tuple[Any, Cost]
"""A value, and what the longest way to it cost."""
Indices = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Where:
    """One place in a run. Children are made by the constructor: `replace` took four times as long, for each branch."""

    scope: Scope
    frame: Frame | None
    """None where no budget limits it."""
    indices: Indices = ()
    """Branch, round and sample numbers on the way, outermost first."""
    entry: Cost = FREE
    """The longest way to where the plan begins: nothing in it starts earlier, whatever it reads."""
    furthest: Furthest = field(default_factory=Furthest)
    """How far the calls of this branch have come: who waits for a branch that fails has waited for them."""

    def at(self, *indices: int) -> Where:
        """The same, some numbers deeper."""
        return Where(self.scope, self.frame, (*self.indices, *indices), self.entry, self.furthest)

    def branch(self, index: int) -> Where:
        """A branch that starts here; how far its own calls come is counted by itself."""
        return Where(self.scope, self.frame, (*self.indices, index), self.entry, self.furthest.inside())

    def after(self, costs: Iterable[Cost]) -> Where:
        """The same, begun when all that these ways lead to is there."""
        entry = self.longest(costs)
        return self if entry is self.entry else Where(self.scope, self.frame, self.indices, entry, self.furthest)

    def longest(self, costs: Iterable[Cost]) -> Cost:
        """The longest way to a step that waits for these."""
        best = self.entry
        for cost in costs:
            if cost.sequential > best.sequential:
                best = cost
        return best

    @contextmanager
    def body(self, plan: Plan, position: int, *, width: int = 1, rounds: int = 1, chain: int = 1) -> Iterator[Where]:
        """Inside a node of the plan evaluated here."""
        if self.frame is None:
            yield self
            return
        with self.frame.under(plan, position, width=width, rounds=rounds, chain=chain) as frame:
            yield replace(self, frame=frame)
