"""Solutions as the instructions ask for them, in pieces of which some are there to be corrected, not learned."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from reasonflow.evals.curriculum.instructions import Behaviour
from reasonflow.evals.curriculum.mistakes import slipped
from reasonflow.evals.tasks.graph import Graph
from reasonflow.evals.tasks.problems import Item
from reasonflow.evals.tasks.solutions import direct, full_line, in_order, line, threaded

_SLIP = 0.15
"""Share of first lines that are wrong where every line is written twice."""


class Piece(NamedTuple):
    """A stretch of a completion."""

    text: str
    learned: bool = True
    """Whether it counts in the loss. A mistake that is there to be corrected does not."""


def solved(item: Item, behaviour: Behaviour, random: Random) -> list[Piece]:
    """A right solution, written as the behaviour says; systems of constraints know only the default."""
    graph = item.content
    if not behaviour or not isinstance(graph, Graph):
        return [Piece(item.solution(random))]
    if behaviour == "careful":
        values = graph.values()
        return [Piece(_ended(graph, [full_line(quantity, values) for quantity in in_order(graph.needed, random)]))]
    if behaviour == "short":
        lines = [f"{quantity.name} = {quantity.value}" for quantity in in_order(graph.needed, random)]
        return [Piece(_ended(graph, lines))]
    return _twice(graph, random)


def in_threads(graph: Graph, random: Random) -> str:
    """The threaded solution as a thinking model writes it (ThreadWeaver, arXiv:2512.07843). Raises as `threaded`."""
    thought, _, box = threaded(graph, random).rpartition("\n")
    return f"<think>\n{thought}\n</think>\n{box}"


def _twice(graph: Graph, random: Random) -> list[Piece]:
    values = graph.values()
    pieces: list[Piece] = []
    for quantity in in_order(graph.needed, random):
        right = f"{line(quantity, values)}\n"
        if random.random() < _SLIP:
            head, _, _ = right.rpartition("= ")
            pieces.append(Piece(f"{head}= "))
            pieces.append(Piece(f"{slipped(quantity.value, random)}\n", learned=False))
        else:
            pieces.append(Piece(right))
        pieces.append(Piece(right))
    pieces.append(Piece(direct(graph.answer)))
    return pieces


def _ended(graph: Graph, lines: list[str]) -> str:
    return "\n".join([*lines, direct(graph.answer)])
