"""What a distiller writes: what the next attempt needs, from the asked quantity back, and how many drafts found it.

The answer alone, where drafts establish it. Otherwise what it is made of, then what that is made of, and so on until
drafts establish a value: nothing is listed behind that. So every line follows from one before it, from the problem's
sentence about one quantity and from what the drafts say about it; and the next attempt computes from the last line up.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import islice

from reasonflow.evals.curriculum.sought import way_back
from reasonflow.evals.curriculum.tally import Counts, established, tally
from reasonflow.evals.tasks import tokens
from reasonflow.evals.tasks.graph import Graph, Quantity
from reasonflow.evals.tasks.solutions import expression

LONGEST = 256
"""Tokens of a workspace at most."""
UNKNOWN = "?"
"""In place of a value, where no draft states any."""
_ENTRY = re.compile(
    r"[ \t]*(?:[-*•][ \t]*)?(?:the )?([a-z]+(?: [a-z]+)*) = (\d{1,9})(?: ?x ?\d{1,3})?[ \t.]*", re.IGNORECASE
)


def notes(
    graph: Graph,
    drafts: Sequence[str | None],
    *,
    longest: int = LONGEST,
    count: Callable[[str], int] = tokens.count,
) -> str:
    """Lines `name = value xCOUNT` of what is established; of the rest `name = expression = value xCOUNT`.

    The value is the most frequent one, `?` where there is none. At most `longest` tokens by `count`: what does not fit
    is left out from the end.
    """
    found, known = tally(drafts), established(drafts, graph.asked)
    by_name = {quantity.name: quantity for quantity in graph.quantities}
    names = islice(way_back(graph, known), longest)  # no line is shorter than a token
    lines = [_line(by_name[name], found.get(name, ()), name in known) for name in names]
    while lines and count("\n".join(lines)) > longest:
        lines.pop()
    return "\n".join(lines)


def read_notes(text: str) -> dict[str, int]:
    """What notes establish: values that stand there without an expression, with or without a count.

    Lines of another form are passed over.
    """
    entries = (_ENTRY.fullmatch(line) for line in text.split("\n"))
    return {entry[1].lower(): int(entry[2]) for entry in entries if entry}


def _line(quantity: Quantity, counts: Counts, known: bool) -> str:
    value = "{} x{}".format(*counts[0]) if counts else UNKNOWN
    return f"{quantity.name} = {value}" if known else f"{quantity.name} = {expression(quantity)} = {value}"
