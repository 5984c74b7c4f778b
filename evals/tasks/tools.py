"""Tools for problems of the family: a table of what houses hold, and a calculator.

Both answer in the lines that solutions are made of. They have no effects, and are functions as `dspy.ReAct` takes them.
"""

from __future__ import annotations

import re

from reasonflow.evals.tasks.graph import LARGEST, apply
from reasonflow.evals.tasks.lookups import held_in

_EXPRESSION = re.compile(r"\s*(?:(?P<name>[a-z]+ [a-z]+)\s*=)?\s*(?P<left>\d+)\s*(?P<sign>[-+*/])\s*(?P<right>\d+)\s*")
_NAME = re.compile("[a-z]+ [a-z]+")


def look_up(item: str, house: int) -> str:
    """How many of an item a house has."""
    if not _NAME.fullmatch(item):
        raise ValueError(f"{item!r} is no item: give its two words, as in 'red cups'")
    return f"{item} = {held_in(house, item)}"


def calculate(expression: str) -> str:
    """Adds, subtracts, multiplies or divides two numbers; a name may stand in front, as in 'red cups = 3 + 4'."""
    found = _EXPRESSION.fullmatch(expression)
    if not found:
        raise ValueError(f"{expression!r} is no expression of two numbers, as in 'red cups = 3 + 4'")
    left, right = int(found["left"]), int(found["right"])
    value = apply(found["sign"], left, right)
    if value is None or not 0 <= value <= LARGEST:
        raise ValueError(f"{left} {found['sign']} {right} is no whole number from 0 to {LARGEST}")
    line = f"{left} {found['sign']} {right} = {value}"
    return f"{found['name']} = {line}" if found["name"] else line


TOOLS = (look_up, calculate)
