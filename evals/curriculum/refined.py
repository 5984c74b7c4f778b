"""What a refinement writes: it cites what earlier attempts settle, and computes the rest of what the answer takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from random import Random

from reasonflow.evals.curriculum.sought import steps
from reasonflow.evals.curriculum.tally import established
from reasonflow.evals.tasks.graph import Graph
from reasonflow.evals.tasks.reading import final_answer
from reasonflow.evals.tasks.solutions import direct, in_order, line, solution

_CITED = re.compile(r"[a-z]+(?: [a-z]+)* = \d+")
"""A line that says a value and not what it is made of."""


def refined(graph: Graph, known: Mapping[str, int], random: Random | None = None) -> str:
    """A right solution: `name = value` where a known value is true, full lines elsewhere, then the box.

    It has what the asked quantity still takes, and nothing that only cited ones are made of. A known answer is all.

    known: as `read_notes` or `established` have it. random: of the order of lines, as `in_order` has it; None: as notes
        read backwards.
    """
    values = graph.values()
    true = {name for name, value in known.items() if values.get(name) == value}
    names = steps(graph, true)
    if random is not None:
        reached = [quantity for quantity in graph.quantities if quantity.name in names]
        cut = [quantity._replace(operands=()) if quantity.name in true else quantity for quantity in reached]
        names = [quantity.name for quantity in in_order(cut, random)]
    by_name = {quantity.name: quantity for quantity in graph.quantities}
    lines = [f"{name} = {values[name]}" if name in true else line(by_name[name], values) for name in names]
    return "\n".join([*lines, direct(graph.answer)])


def misled(graph: Graph, known: Mapping[str, int]) -> bool:
    """Whether the way back from the asked quantity ends in a wrong value: a reader of notes can only believe it."""
    values = graph.values()
    return any(known[name] != values[name] for name in steps(graph, known) if name in known)


def improved(graph: Graph, attempt: str, random: Random) -> str:
    """The same out of a single attempt, of which everything that is right is known but for its answer.

    An attempt that came to its end in full lines is written anew in full: the next round can check those lines; cited
    ones it could only believe.
    """
    if final_answer(attempt) is not None and not any(map(_CITED.fullmatch, attempt.split("\n"))):
        return solution(graph, random)
    known = established([attempt], graph.asked)
    known.pop(graph.asked, None)
    return refined(graph, known, random)
