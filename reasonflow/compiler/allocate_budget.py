"""What a budget means for a plan, before anything runs: whether it can be kept, and how much each call may write.

The caps that hold are set when each call is ready (`runtime/allotment.py`): what earlier calls did not use is theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from reasonflow.compiler.rebuild import inside
from reasonflow.errors import BudgetExceeded
from reasonflow.plan.budget import Budget
from reasonflow.plan.forecast import Costs, Forecast, Level, Levels, Size, cap_of
from reasonflow.plan.nodes import Answer, Generate, Node, Plan


def allocate_budget(plan: Plan, budget: Budget, costs: Costs, inputs: Sequence[Size] | None = None) -> Plan:
    """The plan with the `allowance` of every call, as if all calls used theirs.

    inputs: sizes of the plan's inputs; None: unknown, and counted as nothing.
    Raises BudgetExceeded where not even the cheapest answer fits with every call at its floor.
    """
    sizes = [Size() for _ in plan.inputs] if inputs is None else inputs
    levels = Levels(plan, costs)

    def fits(candidate: Plan, level: Level) -> bool:
        return not _over(Forecast(candidate, sizes, costs, level), budget)

    marked = [position for position, node in enumerate(plan.nodes) if isinstance(node.op, Answer)]
    ends = [plan, *(replace(plan, output=position) for position in marked)]
    if not any(fits(end, levels.bottom) for end in ends):
        cheapest = min((Forecast(end, sizes, costs, levels.bottom) for end in ends), key=lambda f: f.root.total.total)
        raise _impossible(cheapest, budget)
    level = levels.highest(lambda level: fits(plan, level)) or levels.bottom
    return _allowed(plan, level, costs)


def can_finish(plan: Plan, budget: Budget, costs: Costs) -> bool:
    """Whether the budget holds the whole plan with every call at its floor and the fewest branches."""
    sizes = [Size() for _ in plan.inputs]
    return not _over(Forecast(plan, sizes, costs, Levels(plan, costs).bottom), budget)


def _over(forecast: Forecast, budget: Budget) -> dict[str, float]:
    """What a forecast takes of each limit that it breaks."""
    takes = {"sequential": forecast.root.length, "total": forecast.root.total.total, "calls": forecast.root.total.calls}
    limits = budget.limits
    return {name: amount for name, amount in takes.items() if name in limits and amount > limits[name]}


def _impossible(forecast: Forecast, budget: Budget) -> BudgetExceeded:
    over = _over(forecast, budget)
    words = {"sequential": "sequential tokens", "total": "total tokens", "calls": "calls"}
    needs = " and ".join(f"{amount:,.0f} {words[name]}" for name, amount in over.items())
    return BudgetExceeded(
        f"this plan needs at least {needs}; the budget allows {budget}",
        why=f"its calls up to the first answer ({forecast.root.total.calls:,.0f}) take that even at their floors, with "
        "the fewest branches",
        fix="give more, lower the widths or `floor_tokens`, or mark an earlier result with rf.answer(...)",
    )


def _allowed(plan: Plan, level: Level, costs: Costs) -> Plan:
    def allow(node: Node) -> Node:
        node = inside(node, lambda body: _allowed(body, level, costs))
        if not isinstance(node.op, Generate):
            return node
        return replace(node, allowance=cap_of(node.op.site, level.tokens, costs.max_tokens(node.op.site)))

    return replace(plan, nodes=tuple(map(allow, plan.nodes)))
