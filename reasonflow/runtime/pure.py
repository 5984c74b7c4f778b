"""One pure step while a plan is evaluated: its value, and who hears of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reasonflow.plan.nodes import Answer, Const, Get, Node, Quorum, Select, Vote
from reasonflow.runtime import joins
from reasonflow.runtime.events import Answer as AnswerEvent
from reasonflow.runtime.events import Joined
from reasonflow.runtime.record import Run
from reasonflow.runtime.where import Outcome, Where


def pure(node: Node, args: Sequence[Outcome], run: Run, where: Where, begun: Where) -> Outcome:
    """What a pure node gives, at once. begun: where the branch of a `when` that it stands in was entered."""
    given = [value for value, _ in args]
    cost = begun.longest([cost for _, cost in args])
    op = node.op
    if isinstance(op, Get):
        return joins.get(given[0], op.key), cost
    if isinstance(op, Const):
        return op.value, cost
    value: Any = joins.evaluate(op, given, lambda text: run.repair(node.name, text, where.indices))
    if isinstance(op, Answer):
        where.scope.reach(value, cost)
        run.tell(AnswerEvent, node.name, where.indices, value=value)
    elif isinstance(op, (Vote, Quorum, Select)):
        run.tell(Joined, node.name, where.indices, branches=len(given[0]), value=value)
    return value, cost
