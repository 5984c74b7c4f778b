"""Plans that are one chain: steps that wait for each other, with pure ones between them.

Nothing in them can run beside anything else, so they need neither tasks nor a list of who waits for what: the body of
most forks is such a plan, and is evaluated once for each branch.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from reasonflow.plan.nodes import PURE, Input, Node, Plan, When
from reasonflow.runtime.pure import pure
from reasonflow.runtime.steps import Steps
from reasonflow.runtime.where import Outcome, Where

Chain = tuple[tuple[int, bool], ...]
"""Positions in the order they are evaluated in, and whether each is a step: each with the pure ones behind it."""


@lru_cache(maxsize=1024)
def chain_of(plan: Plan) -> Chain | None:
    """The order of a plan in which all is needed and each step waits for the one before it; None for other plans."""
    needed = _read_by(plan, plan.output)
    if len(needed | set(plan.inputs)) < len(plan.nodes):
        return None  # answers nobody reads, and what has effects: `Evaluation` knows what to do with them
    links: list[list[tuple[int, bool]]] = [[]]
    behind: dict[int, int] = {}
    """How many steps each position waits for."""
    for position, node in enumerate(plan.nodes):
        if isinstance(node.op, Input):
            behind[position] = 0
            continue
        if isinstance(node.op, When):
            return None
        link = max((behind[arg] for arg in node.args), default=0)
        if isinstance(node.op, PURE):
            links[link].append((position, False))
        elif link == len(links) - 1:
            link += 1
            links.append([(position, True)])
        else:
            return None  # it could run beside the one before it
        behind[position] = link
    return tuple(place for link in links for place in link)


async def follow(executor: Steps, plan: Plan, chain: Chain, inputs: Sequence[Outcome], where: Where) -> Outcome:
    """What the plan gives: as `Evaluation` has it."""
    values: list[Outcome | None] = [None] * len(plan.nodes)
    nodes, frame = plan.nodes, where.frame
    for position, (value, cost) in zip(plan.inputs, inputs, strict=True):
        values[position] = (value, where.longest((cost,)))
    begun: list[int] = []
    try:
        for position, takes_time in chain:
            node = nodes[position]
            if takes_time:
                if frame is not None:
                    begun.append(position)
                    frame.begun[position] += 1
                values[position] = await executor.step(node, position, _read(values, node), where)
            else:
                values[position] = pure(node, _read(values, node), executor.run, where, where)
    finally:
        if frame is not None:  # nothing that has not begun will
            for position in range(len(nodes)):
                frame.begun[position] += position not in begun
    return _there(values[plan.output])


def _read(values: list[Outcome | None], node: Node) -> list[Outcome]:
    return [_there(values[arg]) for arg in node.args]


def _there(outcome: Outcome | None) -> Outcome:
    assert outcome is not None, "a node ran before what it reads"
    return outcome


def _read_by(plan: Plan, position: int) -> set[int]:
    """The node and all that it reads, directly or not."""
    found: set[int] = set()
    stack = [position]
    while stack:
        current = stack.pop()
        if current not in found:
            found.add(current)
            stack.extend(plan.nodes[current].args)
    return found
