"""What a refinement writes: it cites what earlier attempts settle, and computes the rest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from random import Random

from reasonflow.evals.curriculum.tally import Counts, agreed, settled, tally
from reasonflow.evals.tasks.graph import Graph
from reasonflow.evals.tasks.reading import final_answer
from reasonflow.evals.tasks.solutions import direct, in_order, line, solution

_CITED = re.compile(r"[a-z]+(?: [a-z]+)* = \d+")
"""A line that says a value and not what it is made of."""


def refined(graph: Graph, known: Mapping[str, Counts], drafts: int, random: Random) -> str:
    """A right solution: `name = value` where the counts settle on the true value, full lines elsewhere, then the box.

    Cited lines come first, in the order of `known`. Of a part it has what its last quantity still takes: nothing that
    only cited ones are made of. The asked quantity is cited only where most drafts agree on it, and stands alone then.

    known: of `read_notes` or `tally`. drafts: how many were read.
    """
    if agreed(known.get(graph.asked, ()), drafts) and known[graph.asked][0][0] == graph.answer:
        return f"{graph.asked} = {graph.answer}\n{direct(graph.answer)}"
    return _derived(graph, known, drafts, random)


def improved(graph: Graph, attempt: str, random: Random) -> str:
    """The same out of a single attempt, which settles whatever is right in it; its answer is always derived anew.

    An attempt that came to its end in full lines is written anew in full: the next round can check those lines; cited
    ones it could only believe.
    """
    if final_answer(attempt) is not None and not any(map(_CITED.fullmatch, attempt.split("\n"))):
        return solution(graph, random)
    return _derived(graph, tally([attempt]), 1, random)


def _derived(graph: Graph, known: Mapping[str, Counts], drafts: int, random: Random) -> str:
    values = graph.values()
    cited = [
        name
        for name, counts in known.items()
        if name != graph.asked and name in values and settled(counts, drafts) == values[name]
    ]
    by_name = {quantity.name: quantity for quantity in graph.quantities}
    wanted = [quantity.name for quantity in graph.joins] + [part[-1].name for part in graph.parts()]
    reached = set(wanted)
    while wanted:
        name = wanted.pop()
        if name in cited:
            continue
        for operand in by_name[name].operands:
            if isinstance(operand, str) and operand not in reached:
                reached.add(operand)
                wanted.append(operand)
    shown = [name for name in cited if name in reached]
    computed = [quantity for quantity in graph.needed if quantity.name in reached and quantity.name not in cited]
    lines = [f"{name} = {values[name]}" for name in shown]
    lines += [line(quantity, values) for quantity in in_order(computed, random)]
    return "\n".join([*lines, direct(graph.answer)])
