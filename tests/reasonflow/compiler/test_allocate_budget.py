"""Budgets before a run: what each call may write, and whether the budget can be kept at all."""

from __future__ import annotations

from typing import Any

import pytest

import reasonflow as rf
from reasonflow.compiler.allocate_budget import allocate_budget
from reasonflow.compiler.passes import lower
from reasonflow.errors import BudgetExceeded
from reasonflow.language.program import trace
from reasonflow.plan.budget import Budget
from reasonflow.plan.forecast import Costs
from reasonflow.plan.nodes import Generate, Plan

COSTS = Costs(template_tokens=lambda site: 100, max_tokens=lambda site: site.sampling.max_tokens, window=32_768)


def allowances(plan: Plan) -> dict[str, int | None]:
    return {node.name: node.allowance for node in plan.walk() if isinstance(node.op, Generate)}


def test_a_path_of_seven_calls_shares_what_its_prompts_leave() -> None:
    plan = lower(trace(rf.PDR(widths=(16, 8, 4))).plan)
    found = allowances(allocate_budget(plan, Budget(sequential=16_000), COSTS))
    assert found["draft"] is not None
    assert found["draft"] > 1_000, "splitting 16,000 tokens over all 32 calls would leave 276 a draft"
    # four rounds of drafts and three of notes, each prompt 100 tokens and what it reads at least
    outputs = [found[name] or 0 for name in ("draft", "refine", "refine#2", "refine#3")]
    notes = [found[name] or 0 for name in ("distill", "distill#2", "distill#3")]
    reads = 64 * (16 + 8 + 4) + sum(notes)
    assert sum(outputs) + sum(notes) + 7 * 100 + reads <= 16_000
    assert sum(outputs) + sum(notes) + 7 * 100 + reads > 15_000, "little is left unused"
    assert all(note <= 1_024 for note in notes)


def test_a_total_is_shared_by_all_branches() -> None:
    plan = lower(trace(rf.SelfConsistency(n=10)).plan)
    (allowance,) = allowances(allocate_budget(plan, Budget(total=10_000), COSTS)).values()
    assert allowance is not None
    assert 10 * (100 + allowance) <= 10_000
    assert allowance > 900 / 1.05 - 1, "the next level, a twentieth higher, would not fit"


def test_a_budget_that_cannot_be_kept_is_refused_with_what_it_would_take() -> None:
    plan = lower(trace(rf.ChainOfThought()).plan)
    with pytest.raises(BudgetExceeded, match="needs at least 164 total tokens; the budget allows 163 total"):
        allocate_budget(plan, Budget(total=163), COSTS)
    assert allowances(allocate_budget(plan, Budget(total=164), COSTS)) == {"solve": 64}


class Early(rf.Program):
    """An answer after one call, then three more."""

    def __init__(self) -> None:
        self.solve = rf.Generate("problem -> answer")

    def plan(self, problem: Any) -> Any:
        first = rf.answer(self.solve(problem=problem))
        return rf.loop(lambda state: self.solve(problem=state).answer, first.answer, max_rounds=3)


def test_the_first_answer_is_enough_to_start_with() -> None:
    plan = lower(trace(Early()).plan)
    allocate_budget(plan, Budget(calls=1), COSTS)
    with pytest.raises(BudgetExceeded):
        allocate_budget(plan, Budget(sequential=163), COSTS)
