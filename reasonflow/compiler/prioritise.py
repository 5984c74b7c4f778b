"""How many calls are still to come behind each step: within a program the longest way goes first."""

from __future__ import annotations

from dataclasses import replace

from reasonflow.compiler.rebuild import inside
from reasonflow.plan.nodes import Each, Fork, Generate, Loop, Node, Op, Plan, Race, When, Within


def prioritise(plan: Plan) -> Plan:
    """The plan with every node's `priority` set: calls on the longest path from it to the end, itself included."""
    return _from(plan, 0)


def _from(plan: Plan, behind: int) -> Plan:
    after = [0] * len(plan.nodes)
    if plan.nodes:
        after[plan.output] = behind
    priorities = [0] * len(plan.nodes)
    for position in range(len(plan.nodes) - 1, -1, -1):
        node = plan.nodes[position]
        priorities[position] = after[position] + _length(node.op)
        for arg in node.args:
            after[arg] = max(after[arg], priorities[position])
    ranked = (_ranked(node, after[i], priorities[i]) for i, node in enumerate(plan.nodes))
    return replace(plan, nodes=tuple(ranked))


def _ranked(node: Node, behind: int, priority: int) -> Node:
    return replace(inside(node, lambda body: _from(body, behind)), priority=priority)


def _length(op: Op) -> int:
    """Calls on the longest path through a node."""
    match op:
        case Generate():
            return 1
        case Fork(body=body) | Within(body=body):
            return _depth(body)
        case Each(body=body):
            return op.chain * _depth(body)
        case Race(bodies=bodies):
            return max(map(_depth, bodies))
        case Loop(body=body, max_rounds=rounds):
            return rounds * _depth(body)
        case When(then=then, otherwise=otherwise):
            return max(_depth(then), _depth(otherwise))
        case _:
            return 0


def _depth(plan: Plan) -> int:
    depths: list[int] = []
    for node in plan.nodes:
        depths.append(_length(node.op) + max((depths[arg] for arg in node.args), default=0))
    return max(depths, default=0)
