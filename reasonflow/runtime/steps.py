"""What an evaluation asks of its executor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from reasonflow.plan.nodes import Node, Plan
from reasonflow.runtime.record import Run
from reasonflow.runtime.where import Outcome, Where


class Steps(Protocol):
    """What runs the nodes that are not pure."""

    run: Run

    async def step(self, node: Node, position: int, args: list[Outcome], where: Where) -> Outcome: ...

    async def evaluate(self, plan: Plan, inputs: Sequence[Outcome], where: Where) -> Outcome: ...
