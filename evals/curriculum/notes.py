"""What a distiller writes: what the next attempt needs, from the asked quantity back, and how many drafts found it.

The answer alone, where drafts establish it. Otherwise its values, then what it is made of, and so on until drafts
establish a value: nothing is listed behind that. So every line asks for one step, what a name is made of or what the
drafts say about it, and the next attempt computes from the last line up.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from reasonflow.evals.curriculum.sought import sought
from reasonflow.evals.curriculum.tally import Counts, established, tally
from reasonflow.evals.tasks import tokens
from reasonflow.evals.tasks.graph import Graph

LONGEST = 256
"""Tokens of a workspace at most."""
MOST_VALUES = 2
"""Of a quantity on which drafts differ; of one that they establish only that value is noted."""
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
    """Lines `name = value xCOUNT` of what is established; of the rest two values with counts, one, or `name = ?`.

    At most `longest` tokens by `count`: what does not fit is left out from the end.
    """
    found = tally(drafts)
    known = established(found, graph.asked, len(drafts))
    lines = [_line(name, found.get(name, ()), name in known) for name in sought(graph, known)]
    while lines and count("\n".join(lines)) > longest:
        lines.pop()
    return "\n".join(lines)


def read_notes(text: str) -> dict[str, int]:
    """What notes establish: a single value that more than one draft states, or that has no count.

    Lines of another form are passed over.
    """
    known: dict[str, int] = {}
    for line in text.split("\n"):
        entry = _ENTRY.fullmatch(line)
        values = _VALUE.findall(entry[2]) if entry else []
        if entry and len(values) == 1 and values[0][1] != "1":
            known[entry[1].lower()] = int(values[0][0])
    return known


def _line(name: str, counts: Counts, known: bool) -> str:
    shown = counts[: 1 if known else MOST_VALUES]
    return f"{name} = " + (", ".join(f"{value} x{times}" for value, times in shown) or UNKNOWN)
