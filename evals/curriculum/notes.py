"""What a distiller writes: for the quantities that the next attempt needs, their values and how many drafts found them.

Listed is how far the drafts came: of each independent part the last quantity that any of them states and, where they do
not agree on it, the last one before it that is settled; what joins parts, where it is settled; and the asked quantity
where most drafts agree on it. Where they do not, its most frequent value is what a vote says, and the next attempt does
better to compute it from what it is made of.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from reasonflow.evals.curriculum.tally import Counts, agreed, ordered, settled, tally
from reasonflow.evals.tasks import tokens
from reasonflow.evals.tasks.graph import Graph

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
    *,
    longest: int = LONGEST,
    count: Callable[[str], int] = tokens.count,
) -> str:
    """Lines `name = value xCOUNT, ...` in the order in which the drafts name them, at most `longest` tokens by `count`.

    What does not fit is left out from the end. Empty only where the drafts say nothing about the graph, or where not
    even one line fits.
    """
    found = tally(drafts)
    size = sum(draft is not None for draft in drafts)
    lines = [_line(name, found[name]) for name in listed(graph, found, size)]
    while lines and count("\n".join(lines)) > longest:
        lines.pop()
    return "\n".join(lines)


def listed(graph: Graph, found: Mapping[str, Counts], drafts: int) -> list[str]:
    """The names that notes list, in the order of `found`; the asked quantity last."""
    wanted = {join.name for join in graph.joins if settled(found.get(join.name, ()), drafts) is not None}
    for part in graph.parts():
        stated = [quantity.name for quantity in part if quantity.needed and quantity.name in found]
        for place, name in enumerate(reversed(stated)):
            sure = settled(found[name], drafts) is not None
            if sure or not place:
                wanted.add(name)
            if sure:
                break
    wanted.discard(graph.asked)
    names = [name for name in found if name in wanted]
    if agreed(found.get(graph.asked, ()), drafts):
        names.append(graph.asked)
    if not names:  # distractors alone, or an answer without a solution
        known = graph.values()
        names = [name for name in found if name in known][:1]
    return names


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
