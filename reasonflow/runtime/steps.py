"""What an evaluation asks of its executor."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

from reasonflow.plan.nodes import Node, Plan
from reasonflow.runtime.early import Early
from reasonflow.runtime.record import Run
from reasonflow.runtime.where import Outcome, Where


class Steps(Protocol):
    """What runs the nodes that are not pure."""

    run: Run

    def step(
        self, node: Node, position: int, args: list[Outcome], where: Where, early: Early | None = None
    ) -> Coroutine[Any, Any, Outcome]: ...

    def evaluate(self, plan: Plan, inputs: Sequence[Outcome], where: Where) -> Coroutine[Any, Any, Outcome]: ...
