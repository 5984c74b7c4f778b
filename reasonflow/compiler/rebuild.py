"""Rewriting a plan's bodies: what every pass that looks inside them needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from reasonflow.plan.nodes import Each, Fork, Loop, Node, Plan, Race, When, Within


def inside(node: Node, rewrite: Callable[[Plan], Plan]) -> Node:
    """The node with its bodies rewritten."""
    op = node.op
    match op:
        case Fork() | Each() | Loop() | Within():
            body = rewrite(op.body)
            return node if body is op.body else replace(node, op=replace(op, body=body))
        case Race():
            return replace(node, op=replace(op, bodies=tuple(map(rewrite, op.bodies))))
        case When():
            return replace(node, op=replace(op, then=rewrite(op.then), otherwise=rewrite(op.otherwise)))
        case _:
            return node
