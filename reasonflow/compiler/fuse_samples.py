"""A fork of single equal calls becomes one sampling group, whose prompt is rendered and computed once."""

from __future__ import annotations

from dataclasses import replace

from reasonflow.compiler.rebuild import inside
from reasonflow.plan.nodes import Fork, Generate, Node, Plan
from reasonflow.plan.shapes import ListShape


def fuse_samples(plan: Plan) -> Plan:
    """The plan with every fork whose body is one call that does not read the branch's number turned into a group.

    The group keeps the call's path, and sample i of a group has the seed of branch i: the answers stay the same.
    """
    return replace(plan, nodes=tuple(_fuse(inside(node, fuse_samples)) for node in plan.nodes))


def _fuse(node: Node) -> Node:
    if not isinstance(node.op, Fork):
        return node
    body = node.op.body
    call = body.nodes[body.output]
    others = [
        position for position in range(len(body.nodes)) if position != body.output and position not in body.inputs
    ]
    if not isinstance(call.op, Generate) or call.op.n is not None or others:
        return node
    index, *captured = body.inputs
    if index in call.args:
        return node
    outer = dict(zip(captured, node.args, strict=True))
    return Node(
        op=replace(call.op, n=node.op.n, min_branches=node.op.min_branches),
        args=tuple(outer[arg] for arg in call.args),
        name=call.name,
        shape=ListShape(call.shape, node.op.n),
        source=node.source,
    )
