"""Quantities that depend on each other: what a problem of the family is underneath its words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from reasonflow.errors import InputError

LARGEST = 999
"""No value of the family is larger, and none is below 0."""

Sign: TypeAlias = Literal["", "+", "-", "*", "/"]
"""How operands become a value; the empty sign states the only operand."""
Operand: TypeAlias = str | int
"""The name of another quantity, or a number that stands in the problem."""


class Quantity(NamedTuple):  # a frozen dataclass takes three times as long to make
    """A named whole number, and how it follows from others."""

    name: str
    """Two words, unique in its graph."""
    sign: Sign
    operands: tuple[Operand, ...]
    """One number for the empty sign, else two; the first of the two is a name."""
    value: int
    """From 0 to LARGEST."""
    part: int | None
    """Which of the independent parts it belongs to; None for joins of parts and for distractors."""
    needed: bool = True
    """Whether the asked quantity depends on it; a distractor is not needed."""


@dataclass(frozen=True, slots=True)
class Graph:
    """Quantities in an order in which operands stand before what is made of them, and the one that is asked for."""

    quantities: tuple[Quantity, ...]
    asked: str

    @property
    def answer(self) -> int:
        """The value of the asked quantity."""
        return self.values()[self.asked]

    @property
    def needed(self) -> tuple[Quantity, ...]:
        """What a solution has to state: everything but the distractors."""
        return tuple(quantity for quantity in self.quantities if quantity.needed)

    @property
    def joins(self) -> tuple[Quantity, ...]:
        """What is made of several parts. Empty where there is one part only."""
        return tuple(quantity for quantity in self.quantities if quantity.needed and quantity.part is None)

    def parts(self) -> tuple[tuple[Quantity, ...], ...]:
        """The independent parts: no quantity of one depends on a quantity of another."""
        found: dict[int, list[Quantity]] = {}
        for quantity in self.quantities:
            if quantity.part is not None:
                found.setdefault(quantity.part, []).append(quantity)
        return tuple(tuple(found[part]) for part in sorted(found))

    def values(self) -> dict[str, int]:
        """Name to value."""
        return {quantity.name: quantity.value for quantity in self.quantities}


def apply(sign: str, left: int, right: int) -> int | None:
    """The value of `left sign right`; None where it is no whole number, or the sign is none of + - * / %."""
    if sign == "+":
        return left + right
    if sign == "-":
        return left - right
    if sign == "*":
        return left * right
    if not right:
        return None
    if sign == "%":
        return left % right
    return left // right if sign == "/" and left % right == 0 else None


def numbers(quantity: Quantity, values: Mapping[str, int]) -> list[int]:
    """The operands with names replaced by their values."""
    return [operand if isinstance(operand, int) else values[operand] for operand in quantity.operands]


def check(graph: Graph) -> Graph:
    """The graph itself. Raises InputError naming the first quantity that breaks what its fields promise."""
    values: dict[str, int] = {}
    owners: dict[str, int | None] = {}
    for quantity in graph.quantities:
        fault = _fault(quantity, values, owners)
        if fault:
            raise InputError(
                f"the quantity {quantity.name!r} {fault}", fix="state operands before what is made of them"
            )
        values[quantity.name], owners[quantity.name] = quantity.value, quantity.part
    reached = _reached(graph)
    for quantity in graph.quantities:
        if quantity.needed != (quantity.name in reached):
            raise InputError(
                f"the quantity {quantity.name!r} is {'not ' * (not quantity.needed)}marked as needed",
                why=f"{graph.asked!r} {'depends' if quantity.name in reached else 'does not depend'} on it",
                fix="needed is what the asked quantity depends on",
            )
    return graph


def _fault(quantity: Quantity, values: Mapping[str, int], owners: Mapping[str, int | None]) -> str:
    if quantity.name in values:
        return "stands twice"
    names = [operand for operand in quantity.operands if isinstance(operand, str)]
    unknown = [name for name in names if name not in values]
    if unknown:
        return f"is made of {unknown[0]!r}, which is not stated before it"
    if quantity.part is not None and any(owners[name] != quantity.part for name in names):
        return "is made of another part's quantity"
    made = numbers(quantity, values)
    if len(made) != (2 if quantity.sign else 1):
        return f"has {len(made)} operands"
    value = apply(quantity.sign, *made) if quantity.sign else made[0]
    if value != quantity.value:
        return f"is {value}, not {quantity.value}"
    if quantity.sign in ("*", "/") and not 2 <= made[1] <= 9:
        return f"takes {made[1]} times: one digit from 2 is allowed"
    return "" if 0 <= quantity.value <= LARGEST else f"is {quantity.value}: outside of 0 to {LARGEST}"


def _reached(graph: Graph) -> set[str]:
    reached = {graph.asked}
    for quantity in reversed(graph.quantities):
        if quantity.name in reached:
            reached |= _names(quantity.operands)
    return reached


def _names(operands: Iterable[Operand]) -> set[str]:
    return {operand for operand in operands if isinstance(operand, str)}
