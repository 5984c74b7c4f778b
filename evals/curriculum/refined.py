"""What a refinement writes: it cites what earlier attempts settle, and computes the rest."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from reasonflow.evals.curriculum.tally import Counts, settled, tally
from reasonflow.evals.tasks.graph import Graph, Quantity
from reasonflow.evals.tasks.solutions import direct, in_order, line


def refined(graph: Graph, known: Mapping[str, Counts], drafts: int, random: Random) -> str:
    """A right solution: `name = value` where the counts settle on the true value, full lines elsewhere, then the box.

    What only cited quantities are made of is left out. known: of `read_notes` or `tally`. drafts: how many were read.
    """
    values = graph.values()
    cited = {name for name, counts in known.items() if name in values and settled(counts, drafts) == values[name]}
    by_name = {quantity.name: quantity for quantity in graph.quantities}
    wanted, reached = [graph.asked], {graph.asked}
    while wanted:
        name = wanted.pop()
        if name in cited:
            continue
        for operand in by_name[name].operands:
            if isinstance(operand, str) and operand not in reached:
                reached.add(operand)
                wanted.append(operand)
    # A cited quantity depends on nothing: it may stand anywhere before its use.
    shown = [
        _given(quantity) if quantity.name in cited else quantity
        for quantity in graph.quantities
        if quantity.name in reached
    ]
    lines = [
        f"{quantity.name} = {quantity.value}" if quantity.name in cited else line(quantity, values)
        for quantity in in_order(shown, random)
    ]
    return "\n".join([*lines, direct(values[graph.asked])])


def improved(graph: Graph, attempt: str, random: Random) -> str:
    """The same out of a single attempt: what is right in it is cited where it ends, the rest is computed."""
    return refined(graph, tally([attempt]), 1, random)


def _given(quantity: Quantity) -> Quantity:
    return quantity._replace(sign="", operands=(quantity.value,))
