"""What an answer still takes: the way back from the asked quantity to what earlier attempts settle."""

from __future__ import annotations

from collections.abc import Container, Iterator

from reasonflow.evals.tasks.graph import Graph


def way_back(graph: Graph, known: Container[str]) -> Iterator[str]:
    """Names from the asked quantity back to known and given ones: behind each what it is made of, as a tree.

    The first operand with all that it takes comes before the second, and what two quantities are made of comes twice:
    the next name follows from those before it alone.
    """
    operands = {quantity.name: quantity.operands for quantity in graph.quantities}
    left = [graph.asked]
    while left:
        name = left.pop()
        yield name
        if name not in known:
            left.extend(operand for operand in reversed(operands[name]) if isinstance(operand, str))


def steps(graph: Graph, known: Container[str]) -> list[str]:
    """The same names, each once, in an order to compute in: that of the way back from its end."""
    operands = {quantity.name: quantity.operands for quantity in graph.quantities}
    done: dict[str, None] = {}

    def visit(name: str) -> None:
        if name in done:
            return
        if name not in known:
            for operand in reversed(operands[name]):
                if isinstance(operand, str):
                    visit(operand)
        done[name] = None

    visit(graph.asked)
    return list(done)
