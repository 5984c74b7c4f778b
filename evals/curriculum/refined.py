"""What a refinement writes: it cites what earlier attempts settle, and computes the rest of what the answer takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from random import Random

from reasonflow.evals.curriculum.notes import listed
from reasonflow.evals.curriculum.sought import sought
from reasonflow.evals.curriculum.tally import Counts, agreed, settled, tally
from reasonflow.evals.tasks.graph import Graph
from reasonflow.evals.tasks.reading import final_answer
from reasonflow.evals.tasks.solutions import direct, in_order, line, solution

_CITED = re.compile(r"[a-z]+(?: [a-z]+)* = \d+")
"""A line that says a value and not what it is made of."""


def refined(graph: Graph, known: Mapping[str, Counts], drafts: int, random: Random | None = None) -> str:
    """A right solution: `name = value` where the counts settle on the true value, full lines elsewhere, then the box.

    It has what the asked quantity still takes, and nothing that only cited ones are made of. The asked one is cited
    only where most drafts agree on it, and stands alone then.

    known: of `read_notes` or `tally`. drafts: how many were read. random: of the order of lines, as `in_order` has it;
    None: notes read backwards.
    """
    if agreed(known.get(graph.asked, ()), drafts) and known[graph.asked][0][0] == graph.answer:
        return f"{graph.asked} = {graph.answer}\n{direct(graph.answer)}"
    return _derived(graph, known, drafts, random)


def misled(graph: Graph, known: Mapping[str, Counts], drafts: int) -> bool:
    """Whether counts settle on something wrong, or agree on a wrong answer: a reader of notes can only believe it."""
    if agreed(known.get(graph.asked, ()), drafts):
        return known[graph.asked][0][0] != graph.answer
    values = graph.values()
    believed = {name: settled(known.get(name, ()), drafts) for name in listed(graph, known, drafts)[1:]}
    return any(value not in (None, values[name]) for name, value in believed.items())


def improved(graph: Graph, attempt: str, random: Random) -> str:
    """The same out of a single attempt, which settles whatever is right in it; its answer is always derived anew.

    An attempt that came to its end in full lines is written anew in full: the next round can check those lines; cited
    ones it could only believe.
    """
    if final_answer(attempt) is not None and not any(map(_CITED.fullmatch, attempt.split("\n"))):
        return solution(graph, random)
    return _derived(graph, tally([attempt]), 1, random)


def _derived(graph: Graph, known: Mapping[str, Counts], drafts: int, random: Random | None) -> str:
    values = graph.values()

    def sure(name: str) -> bool:
        return settled(known.get(name, ()), drafts) == values[name]

    names = sought(graph, sure)
    cited = {name for name in names if name != graph.asked and sure(name)}
    by_name = {quantity.name: quantity for quantity in graph.quantities}
    steps = [by_name[name] for name in reversed(names)]
    if random is not None:
        reached = set(names)
        ordered = [quantity for quantity in graph.quantities if quantity.name in reached]
        steps = in_order([each._replace(operands=()) if each.name in cited else each for each in ordered], random)
    lines = [
        f"{step.name} = {step.value}" if step.name in cited else line(by_name[step.name], values) for step in steps
    ]
    return "\n".join([*lines, direct(graph.answer)])
