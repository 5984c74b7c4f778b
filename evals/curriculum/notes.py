"""What a distiller writes: what the next attempt needs, from the asked quantity back, and how many drafts found it.

The answer alone, where most drafts agree on it. Otherwise its values, then what it is made of, and so on until drafts
settle a value: nothing is listed behind that. So every line asks for one step, what a name is made of or what the
drafts say about it, and the next attempt computes from the last line up.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from reasonflow.evals.curriculum.sought import sought
from reasonflow.evals.curriculum.tally import Counts, agreed, ordered, settled, tally
from reasonflow.evals.tasks import tokens
from reasonflow.evals.tasks.graph import Graph

LONGEST = 256
"""Tokens of a workspace at most."""
MOST_VALUES = 2
"""Of a quantity on which drafts differ."""
UNKNOWN = "?"
"""In place of values, where no draft states any."""
_VALUES = r"-?\d{1,9}(?: ?x ?\d{1,3})?"
_ENTRY = re.compile(
    rf"[ \t]*(?:[-*•][ \t]*)?(?:the )?([a-z]+(?: [a-z]+)*) = ({_VALUES}(?:, ?{_VALUES})*)[ \t.]*", re.IGNORECASE
)
_VALUE = re.compile(r"(-?\d{1,9})(?: ?x ?(\d{1,3}))?", re.IGNORECASE)


def notes(
    graph: Graph,
    drafts: Sequence[str | None],
    *,
    longest: int = LONGEST,
    count: Callable[[str], int] = tokens.count,
) -> str:
    """Lines `name = value xCOUNT, ...`, or `name = ?`, at most `longest` tokens by `count`.

    What does not fit is left out from the end. Empty only where not even one line fits.
    """
    found = tally(drafts)
    size = sum(draft is not None for draft in drafts)
    lines = [_line(name, found.get(name, ())) for name in listed(graph, found, size)]
    while lines and count("\n".join(lines)) > longest:
        lines.pop()
    return "\n".join(lines)


def listed(graph: Graph, found: Mapping[str, Counts], drafts: int) -> list[str]:
    """The names that notes list; the asked quantity first."""
    if agreed(found.get(graph.asked, ()), drafts):
        return [graph.asked]
    return sought(graph, lambda name: settled(found.get(name, ()), drafts) is not None)


def read_notes(text: str) -> dict[str, Counts]:
    """The inverse of `notes`, without what is unknown. Other lines are passed over; a value without a count has one."""
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
    return f"{name} = " + (", ".join(f"{value} x{times}" for value, times in counts[:MOST_VALUES]) or UNKNOWN)
