"""The shape of a graph: how it is built, whatever its names and numbers are."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from reasonflow.evals.tasks.graph import Graph

_MASK = 2**64 - 1
_NUMBER, _GIVEN = 0x6D, 0xA7
_CODES = {"+": 3, "-": 5, "*": 7, "/": 11}


class Shape(NamedTuple):
    """What is held out by, and the two sizes."""

    hash: int
    """64 bits over signs and dependencies. Equal for graphs that differ in names, numbers, order or distractors."""
    width: int
    """Independent parts."""
    depth: int
    """Quantities on the longest chain inside a part."""


def shape_of(graph: Graph) -> Shape:
    """The shape of what is needed."""
    depths: dict[object, int] = {}
    parts: set[int] = set()
    deepest = 0
    for quantity in graph.needed:
        depth = depths[quantity.name] = 1 + max(depths.get(operand, 0) for operand in quantity.operands)
        if quantity.part is not None:
            parts.add(quantity.part)
            deepest = max(deepest, depth)
    return Shape(hash_of(graph), len(parts), deepest)


def hash_of(graph: Graph) -> int:
    """The hash of the shape alone.

    A quantity's code is made of its sign and its operands' codes, so two quantities that are built alike count the same
    whether they are one or two: the classes are a little coarser than graph isomorphism, never finer.
    """
    codes: dict[object, int] = {}
    for name, sign, operands, _, _, needed in graph.quantities:
        if not needed:
            continue
        if sign:
            first, second = operands
            # A number has no code of its own.
            left, right = codes[first], codes.get(second, _NUMBER)
            codes[name] = (
                mix(right, left, _CODES[sign]) if sign == "+" and left > right else mix(left, right, _CODES[sign])
            )
        else:
            codes[name] = _GIVEN
    return codes[graph.asked]


@lru_cache(maxsize=2**16)  # most chains of a row of problems begin alike
def mix(left: int, right: int, code: int) -> int:
    """One 64-bit number out of three, the same everywhere: Python's own hash may change with its version."""
    mixed = (left * 0x9E3779B97F4A7C15 + right * 0x5851F42D4C957F2D + code * 0x2545F4914F6CDD1D) & _MASK
    mixed = (mixed ^ mixed >> 31) * 0xD1342543DE82EF95 & _MASK
    mixed = (mixed ^ mixed >> 29) * 0x9E3779B97F4A7C15 & _MASK
    return mixed ^ mixed >> 32
