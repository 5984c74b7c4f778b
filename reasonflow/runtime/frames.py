"""What of a plan is still to come while it runs, as a budget must see it: one frame per plan being evaluated.

The branches of a fork share a frame, since they do the same; a frame counts how many of them have begun each node. What
has begun is reserved in the ledger or spent; the rest is still to be paid for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from reasonflow.plan.forecast import Demand, Forecast
from reasonflow.plan.nodes import Plan
from reasonflow.runtime.scope import Scope


class Frame:
    """One plan, evaluated `width` times side by side."""

    def __init__(
        self,
        plan: Plan,
        scope: Scope,
        parent: Frame | None = None,
        position: int = 0,
        *,
        width: int = 1,
        rounds: int = 1,
        chain: int = 1,
    ) -> None:
        self.plan = plan
        self.scope = scope
        self.parent = parent
        self.position = position
        """Of the node in the parent's plan whose body this is."""
        self.width = width
        self.rounds_left = rounds
        """Of a loop, the one under way included."""
        self.chain = chain
        """Of branches that need each other: how many may come one after the other."""
        self.begun = [0] * len(plan.nodes)
        self.below: set[Frame] = set()

    @property
    def outermost(self) -> bool:
        """Whether its scope begins with it."""
        return self.parent is None or self.parent.scope is not self.scope

    def upwards(self, position: int) -> Iterator[tuple[Frame, int]]:
        """This frame with that position, and every one above it with the position of the node it is inside of."""
        frame: Frame | None = self
        while frame is not None:
            yield frame, position
            position = frame.position
            frame = frame.parent

    @contextmanager
    def under(self, plan: Plan, position: int, *, width: int = 1, rounds: int = 1, chain: int = 1) -> Iterator[Frame]:
        """The frame of a body of this plan's node at `position`, while it is evaluated."""
        inner = Frame(plan, self.scope, self, position, width=width, rounds=rounds, chain=chain)
        with inner.attached():
            yield inner

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Counted by the frames above while it is evaluated."""
        if self.parent is not None:
            self.parent.below.add(self)
        try:
            yield
        finally:
            if self.parent is not None:
                self.parent.below.discard(self)

    def next_round(self) -> None:
        """A further round of a loop begins."""
        self.rounds_left -= 1
        self.begun = [0] * len(self.plan.nodes)

    def remaining(self, forecast: Forecast) -> Demand:
        """What this frame and those below it still have to begin."""
        found = forecast.of[id(self.plan)]
        rest = found.total * (self.rounds_left - 1)
        for begun, demand in zip(self.begun, found.demand, strict=True):
            if begun < self.width and demand.calls:
                rest = rest + demand * (self.width - begun)
        for frame in self.below:
            rest = rest + frame.remaining(forecast)
        return rest

    def after(self, position: int, forecast: Forecast) -> float:
        """Sequential tokens from the end of the node at `position` to this frame's end."""
        found = forecast.of[id(self.plan)]
        return found.after[position] + found.length * (self.rounds_left - 1 + self.chain - 1)
