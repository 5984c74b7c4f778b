"""Equal deterministic steps run once.

Sampling calls are never merged by content: two of them are two draws. A call at temperature 0 is deterministic.
"""

from __future__ import annotations

from dataclasses import replace

from reasonflow.compiler.rebuild import inside
from reasonflow.plan.nodes import Const, Generate, Get, Node, Op, Pack, Plan, Quorum, Select, Vote


def deduplicate(plan: Plan) -> Plan:
    """The plan in which every deterministic step of equal content and equal arguments stands once."""
    nodes: list[Node] = []
    moved: list[int] = []
    known: dict[tuple[Op, tuple[int, ...]], int] = {}
    for node in plan.nodes:
        current = inside(replace(node, args=tuple(moved[arg] for arg in node.args)), deduplicate)
        key = (current.op, current.args)
        if _deterministic(current.op) and key in known:
            moved.append(known[key])
            continue
        moved.append(len(nodes))
        if _deterministic(current.op):
            known[key] = len(nodes)
        nodes.append(current)
    return Plan(tuple(nodes), tuple(moved[position] for position in plan.inputs), moved[plan.output])


def _deterministic(op: Op) -> bool:
    match op:
        case Const() | Get() | Pack() | Vote() | Quorum() | Select():
            return True
        case Generate(site=site):
            return site.sampling.temperature == 0
        case _:
            return False
