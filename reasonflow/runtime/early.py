"""Joins that do not wait for their whole list: decided as soon as its missing items cannot change what they choose."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from reasonflow.plan.nodes import Get, Op, Plan, Quorum, Vote
from reasonflow.runtime.joins import get
from reasonflow.runtime.tally import Tally
from reasonflow.runtime.values import FREE, Cost, Hole, longest


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What a join gives, whatever the items are that are still missing."""

    value: Any
    cost: Cost
    """The longest way to the items that had come."""
    come: int
    """How many those were, holes included."""
    width: int
    """Items of the whole list."""


class _Choice(Protocol):
    """Which item of a list a join chooses, while the list comes in any order."""

    def add(self, index: int, item: Any) -> None: ...

    @property
    def winner(self) -> int | None: ...


class Early:
    """Told of the items of one list as they come. One loop's object; told of nothing, it decides nothing."""

    def __init__(self, plan: Plan, position: int, decide: Callable[[int, Decided], None]) -> None:
        """decide: told once of every join that is decided before the last item has come; it may not raise."""
        self._plan = plan
        self._position = position
        self._decide = decide
        self._open: dict[int, tuple[str | None, _Choice]] = {}
        """Joins that are not decided, by their places in the plan: the field they read of the items, their count."""
        self._items: dict[int, Any] = {}
        self._cost = FREE
        self._width = self._least = self._there = 0

    def begin(self, width: int, least: int | None, entry: Cost) -> None:
        """The list will have `width` items, and fails with fewer than `least` that are no holes."""
        self._width, self._least, self._cost = width, min(least or 0, width), entry
        for join in self._plan.nodes[self._position].streams:
            node = self._plan.nodes[join]
            (source,) = node.args
            between = self._plan.nodes[source].op
            field = between.key if source != self._position and isinstance(between, Get) else None
            assert field is None or isinstance(field, str), "a join reads a list, or one field of it"
            self._open[join] = (field, _choice(node.op, width))

    def come(self, index: int, item: Any, cost: Cost) -> None:
        """Item `index` is final; cost: of the way to it."""
        if not self._open:
            return
        self._items[index] = item
        self._cost = longest([self._cost, cost])
        self._there += not isinstance(item, Hole)
        for join, (field, choice) in list(self._open.items()):
            try:
                choice.add(index, _read(item, field))
            except Exception:
                del self._open[join]  # the join itself raises it, over the whole list
        if self._there < self._least or len(self._items) >= self._width:
            return
        for join, (field, choice) in list(self._open.items()):
            if choice.winner is not None:
                del self._open[join]
                value = _read(self._items[choice.winner], field)
                self._decide(join, Decided(value=value, cost=self._cost, come=len(self._items), width=self._width))

    def close(self) -> None:
        """The list has ended, in whatever way: nothing is decided early any more."""
        self._open.clear()


@contextmanager
def streamed(plan: Plan, position: int, decide: Callable[[int, Decided], None]) -> Iterator[Early]:
    """While the step at `position` makes its list."""
    early = Early(plan, position, decide)
    try:
        yield early
    finally:
        early.close()


class _Projection:
    """Chooses by number."""

    def __init__(self, index: int) -> None:
        self._index = index
        self.winner: int | None = None

    def add(self, index: int, item: Any) -> None:
        if index == self._index and not isinstance(item, Hole):
            self.winner = index


def _choice(op: Op, width: int) -> _Choice:
    match op:
        case Get(int() as key):
            return _Projection(key + width if key < 0 else key)
        case Quorum():
            return Tally(op, width)
        case Vote(by, normalise):
            return Tally(Quorum(by, normalise), width)
        case _:
            raise AssertionError(f"{op} chooses no item")


def _read(item: Any, field: str | None) -> Any:
    return item if field is None or isinstance(item, Hole) else get(item, field)
