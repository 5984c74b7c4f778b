"""A fork that only quorums read ends as soon as they are decided: its remaining branches need not be paid for."""

from __future__ import annotations

from dataclasses import replace

from reasonflow.compiler.rebuild import inside
from reasonflow.plan.nodes import Each, Fork, Generate, Get, Node, Plan, Quorum


def stop_early(plan: Plan) -> Plan:
    """The plan in which every fork and sampling group carries the quorums that alone read it.

    A list that anything else reads too is left alone: the other reader would see holes.
    """
    nodes = [inside(node, stop_early) for node in plan.nodes]
    readers: list[list[int]] = [[] for _ in nodes]
    for position, node in enumerate(nodes):
        for arg in set(node.args):
            readers[arg].append(position)
    for position, node in enumerate(nodes):
        if position != plan.output and isinstance(node.op, (Generate, Fork, Each)):
            stops = _stops(position, nodes, readers, plan.output)
            if stops is not None and not (isinstance(node.op, Generate) and node.op.n is None):
                nodes[position] = replace(node, op=replace(node.op, stops=stops))
    return replace(plan, nodes=tuple(nodes))


def _stops(position: int, nodes: list[Node], readers: list[list[int]], output: int) -> tuple[Quorum, ...] | None:
    """The quorums that read this list, directly or by one of its fields; None if anything else reads it."""
    found: list[Quorum] = []
    for reader in readers[position]:
        op = nodes[reader].op
        if isinstance(op, Quorum):
            found.append(op)
            continue
        if not isinstance(op, Get) or not isinstance(op.key, str) or reader == output:
            return None
        for further in readers[reader]:
            ballot = nodes[further].op
            if not isinstance(ballot, Quorum) or ballot.by is not None:
                return None
            found.append(replace(ballot, by=op.key))
    return tuple(found) or None
