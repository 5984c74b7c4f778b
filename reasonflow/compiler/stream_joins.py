"""What reads only a vote need not wait for the list: a step starts as soon as the join before it is decided.

The list itself goes on for its other readers. Nothing is cancelled and no answer changes: a join is decided when no
item that is still missing could change what it chooses.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from reasonflow.compiler.rebuild import inside
from reasonflow.plan.nodes import PURE, Each, Fork, Generate, Get, Node, Op, Plan, Quorum, Vote, When


def stream_joins(plan: Plan) -> Plan:
    """The plan in which every list names the joins over it that let a step start before it is whole."""
    nodes = [inside(node, stream_joins) for node in plan.nodes]
    readers: list[list[int]] = [[] for _ in nodes]
    for position, node in enumerate(nodes):
        for arg in set(node.args):
            readers[arg].append(position)
    for position, node in enumerate(nodes):
        # A list that ends with its only quorum has nothing to send ahead.
        if isinstance(node.op, (Generate, Fork, Each)) and len(node.op.stops) != 1:
            useful = _useful(position, nodes, set(_joins(position, nodes, readers)))
            if useful:
                nodes[position] = replace(node, streams=useful)
    return replace(plan, nodes=tuple(nodes))


def _joins(position: int, nodes: list[Node], readers: list[list[int]]) -> Iterator[int]:
    """The steps that choose one item of this list, or of one of its fields."""
    if isinstance(nodes[position].op, Generate) and getattr(nodes[position].op, "n", None) is None:
        return
    for reader in readers[position]:
        op = nodes[reader].op
        if _chooses(op):
            yield reader
        elif isinstance(op, Get) and isinstance(op.key, str):
            yield from (further for further in readers[reader] if _chooses(nodes[further].op))


def _chooses(op: Op) -> bool:
    return isinstance(op, (Vote, Quorum)) or (isinstance(op, Get) and isinstance(op.key, int))


def _useful(position: int, nodes: list[Node], joins: set[int]) -> tuple[int, ...]:
    """Of the joins, those that a step waits for which takes time and does not need the list otherwise."""
    late = {position}
    """What waits for the whole list."""
    behind: dict[int, set[int]] = {join: {join} for join in joins}
    """The joins that a step waits for, of those that do not wait for the whole list."""
    useful: set[int] = set()
    for current in range(position + 1, len(nodes) if joins else 0):
        node = nodes[current]
        if current in joins:
            continue
        args = node.args[:1] if isinstance(node.op, When) else node.args  # it chooses a side by its condition alone
        if not late.isdisjoint(args):
            late.add(current)
            continue
        found: set[int] = set().union(*(behind.get(arg, set()) for arg in args))
        if found:
            behind[current] = found
            if not isinstance(node.op, PURE):
                useful |= found
    return tuple(sorted(useful))
