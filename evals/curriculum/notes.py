"""What a distiller writes: for the quantities that the next attempt needs, their values and how many drafts found them.

Listed is where knowledge ends: settled quantities that something unsettled is made of, and unsettled ones that are made
of settled ones alone. What lies behind them is not needed any more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from random import Random

from reasonflow.evals.curriculum.tally import Counts, ordered, settled, tally
from reasonflow.evals.tasks import tokens
from reasonflow.evals.tasks.graph import Graph, Quantity
from reasonflow.evals.tasks.solutions import in_order

LONGEST = 256
"""Tokens of a workspace at most."""
MOST_VALUES = 3
"""Of a quantity on which drafts differ."""
_VALUES = r"-?\d{1,9}(?: ?x ?\d{1,3})?"
_ENTRY = re.compile(
    rf"[ \t]*(?:[-*•][ \t]*)?(?:the )?([a-z]+(?: [a-z]+)*) = ({_VALUES}(?:, ?{_VALUES})*)[ \t.]*", re.IGNORECASE
)
_VALUE = re.compile(r"(-?\d{1,9})(?: ?x ?(\d{1,3}))?", re.IGNORECASE)


def notes(
    graph: Graph,
    drafts: Sequence[str | None],
    random: Random,
    *,
    longest: int = LONGEST,
    count: Callable[[str], int] = tokens.count,
) -> str:
    """Lines `name = value xCOUNT, ...` in a random topological order, at most `longest` tokens by `count`.

    What does not fit is left out from the end. Empty only where the drafts say nothing about the graph, or where not
    even one line fits.
    """
    found = tally(drafts)
    size = sum(draft is not None for draft in drafts)
    lines = [_line(quantity.name, found[quantity.name]) for quantity in in_order(listed(graph, found, size), random)]
    while lines and count("\n".join(lines)) > longest:
        lines.pop()
    return "\n".join(lines)


def listed(graph: Graph, found: Mapping[str, Counts], drafts: int) -> list[Quantity]:
    """The quantities that notes list, in the graph's order."""
    sure = {name for name, counts in found.items() if settled(counts, drafts) is not None}
    wanted = {graph.asked} & sure
    for quantity in graph.needed:
        if quantity.name in sure:
            continue
        names = [operand for operand in quantity.operands if isinstance(operand, str)]
        known = [name for name in names if name in sure]
        wanted.update(known)
        if quantity.name in found and len(known) == len(names):
            wanted.add(quantity.name)
    stated = [quantity for quantity in graph.quantities if quantity.name in found]
    if not wanted and stated:
        return [max(stated, key=lambda quantity: (quantity.needed, found[quantity.name][0][1]))]
    return [quantity for quantity in stated if quantity.name in wanted]


def read_notes(text: str) -> dict[str, Counts]:
    """The inverse of `notes`. Lines of another form are passed over; a value without a count has one."""
    found: dict[str, Counts] = {}
    for line in text.split("\n"):
        entry = _ENTRY.fullmatch(line)
        if entry:
            values: dict[int, int] = {}
            for value, times in _VALUE.findall(entry[2]):
                values[int(value)] = values.get(int(value), 0) + int(times or 1)
            found[entry[1].lower()] = ordered(values)
    return found


def _line(name: str, counts: Counts) -> str:
    return f"{name} = " + ", ".join(f"{value} x{times}" for value, times in counts[:MOST_VALUES])
