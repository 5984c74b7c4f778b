"""What voting quantity by quantity makes of several solutions, without a model: the strongest thing to do with them.

It is told the graph, which no program is: what it gets right was there to be found in the drafts.
"""

from __future__ import annotations

from collections.abc import Sequence

from reasonflow.evals.curriculum.tally import tally
from reasonflow.evals.tasks.graph import Graph, apply, numbers


def part_vote(graph: Graph, texts: Sequence[str]) -> int | None:
    """The asked value: every quantity of a part as most texts state it, and the joins of parts computed from these.

    None where a quantity that it takes is stated nowhere, or where the joins of what is stated give no whole number.
    """
    stated = plurality(texts)
    values: dict[str, int] = {}
    for quantity in graph.needed:
        if quantity.part is not None:
            found = stated.get(quantity.name)
        elif all(name in values for name in quantity.operands if isinstance(name, str)):
            left, right = numbers(quantity, values)
            found = apply(quantity.sign, left, right)
        else:
            found = None
        if found is not None:
            values[quantity.name] = found
    return values.get(graph.asked)


def plurality(texts: Sequence[str]) -> dict[str, int]:
    """The most frequent value of each quantity; the one seen first among equals.

    A text has one voice for each: its last line about it, which replaces the earlier ones.
    """
    return {name: counts[0][0] for name, counts in tally(texts).items()}
