"""What an answer still takes: the way back from the asked quantity to what earlier attempts settle."""

from __future__ import annotations

from collections.abc import Container

from reasonflow.evals.tasks.graph import Graph


def sought(graph: Graph, known: Container[str]) -> list[str]:
    """Names from the asked quantity back to known and given ones, each behind everything that is made of it.

    The asked one comes first, then what it is made of, the first operand with all that it takes before the second. Read
    backwards it is an order to compute in.
    """
    by_name = {quantity.name: quantity for quantity in graph.quantities}
    done: dict[str, None] = {}

    def visit(name: str) -> None:
        if name in done:
            return
        if name not in known:
            for operand in reversed(by_name[name].operands):
                if isinstance(operand, str):
                    visit(operand)
        done[name] = None

    visit(graph.asked)
    return list(reversed(done))
