"""What is legal in a plan. Runs after tracing and after every pass, so that a broken plan names its culprit."""

from __future__ import annotations

from collections import Counter

from reasonflow.errors import ProgramError
from reasonflow.plan.nodes import (
    Answer,
    Call,
    Each,
    Fork,
    Generate,
    Get,
    Input,
    Loop,
    Node,
    Pack,
    Plan,
    Quorum,
    Race,
    Select,
    Vote,
    When,
    Within,
    bodies,
)

MAX_WIDTH = 4096
"""Branches of one fork at most: past it a typo is likelier than a plan."""
MAX_ROUNDS = 1024
"""Rounds of one loop at most."""


def check(plan: Plan, *, after: str = "tracing") -> Plan:
    """`plan`, if it is legal. Raises ProgramError saying which node is not, and after what."""
    try:
        _check(plan)
        repeated = [name for name, count in Counter(n.name for n in plan.walk() if _seeded(n)).items() if count > 1]
        if repeated:
            raise ProgramError(f"two calls share the path {repeated[0]!r}", why="their seeds would be equal")
    except ProgramError as error:
        raise ProgramError(
            f"the plan is broken after {after}: {error.what}",
            why=error.why,
            fix=error.fix or "report this plan as a bug",
        ) from error
    return plan


def _check(plan: Plan) -> None:
    if not 0 <= plan.output < len(plan.nodes):
        raise ProgramError("its output is no node of it")
    inputs = {position for position, node in enumerate(plan.nodes) if isinstance(node.op, Input)}
    if set(plan.inputs) != inputs or len(plan.inputs) != len(inputs):
        raise ProgramError("its inputs are not its Input nodes")
    for position, node in enumerate(plan.nodes):
        foreign = [arg for arg in node.args if not 0 <= arg < position]
        if foreign:
            raise ProgramError(
                f"{node.name} reads a value that does not come before it",
                why="it belongs to another plan, or to a later step",
                fix="use the Refs of the plan that is being traced",
            )
        if any(not position < join < len(plan.nodes) for join in node.streams):
            raise ProgramError(f"{node.name} streams to a step that does not come after it")
        _check_node(node)
        for body in bodies(node.op):
            _check(body)


def _check_node(node: Node) -> None:
    expected = _arity(node)
    if expected is not None and len(node.args) != expected:
        raise ProgramError(f"{node.name} has {len(node.args)} arguments, not {expected}")
    match node.op:
        case Generate(n=n, min_branches=least) if n is not None:
            _check_width(node, n, least)
        case Fork(n=n, min_branches=least):
            _check_width(node, n, least)
        case Each(cap=cap, min_branches=least):
            _check_width(node, cap, least)
        case Race(bodies=racers) if len(racers) < 2:
            raise ProgramError(f"{node.name} has {len(racers)} bodies", fix="a race needs two or more")
        case Loop(max_rounds=rounds) if not 1 <= rounds <= MAX_ROUNDS:
            raise ProgramError(
                f"{node.name} has no usable bound ({rounds} rounds)", fix=f"max_rounds must be 1 to {MAX_ROUNDS}"
            )
        case _:
            return


def _arity(node: Node) -> int | None:
    match node.op:
        case Generate(fields=fields, gated=gated):
            return len(fields) + gated
        case Get() | Vote() | Quorum() | Answer():
            return 1
        case Select():
            return 2
        case Pack(keys=keys):
            return len(keys)
        case Fork(body=body):
            return len(body.inputs) - 1  # the branch's number is no argument
        case Each(body=body):
            return len(body.inputs) + 1 - len(node.op.handed(0, 0, 0))  # of what it is handed the items are one
        case Loop(body=body) | Within(body=body):
            return len(body.inputs)
        case Race(bodies=racers):
            return sum(len(body.inputs) for body in racers)
        case When(then=then, otherwise=otherwise):
            return 1 + len(then.inputs) + len(otherwise.inputs)
        case _:
            return None


def _check_width(node: Node, width: int, least: int | None) -> None:
    if least is not None and not 1 <= least <= width:
        raise ProgramError(
            f"{node.name} needs {least} of its {width} branches", fix=f"min_branches must be 1 to {width}"
        )
    if not 1 <= width <= MAX_WIDTH:
        raise ProgramError(f"{node.name} is {width} wide", fix=f"a fork has 1 to {MAX_WIDTH} branches")


def _seeded(node: Node) -> bool:
    return isinstance(node.op, (Generate, Fork, Each, Loop, Race, Within, Call))
