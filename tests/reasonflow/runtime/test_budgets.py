"""Budgets as a user meets them: kept, used well, and a partial answer where they end."""

from __future__ import annotations

import asyncio
from typing import Any

import dspy
import pytest

import reasonflow as rf
from reasonflow.errors import BudgetExceeded, InputError

TEXT = "word " * 60


def scripted(**options: Any) -> dspy.LM:
    """Sixty words, then an answer by the seed: 64 tokens a sample."""
    return rf.scripted(lambda prompt, seed, index: f"{TEXT}\\boxed{{{(seed or 0) % 3}}}", **options)


def run(program: rf.Program, budget: rf.Budget | None = None, **options: Any) -> Any:
    program.budget = budget
    with dspy.context(lm=scripted(**options)):
        return program(problem="How many primes are below 100?")


@pytest.mark.parametrize("total", [400, 800, 1000, 1500, 1700, 2500])
def test_a_total_is_never_exceeded_and_always_gives_an_answer(total: int) -> None:
    out = run(rf.PDR(widths=(4, 2)), rf.Budget(total=total))
    assert out.run.usage.total_tokens <= total
    assert out.answer in ("0", "1", "2")
    assert out.run.complete == (not out.run.cut)


def test_a_budget_that_is_large_enough_changes_nothing() -> None:
    free, held = run(rf.PDR(widths=(4, 2))), run(rf.PDR(widths=(4, 2)), rf.Budget(total=100_000, calls=9))
    assert free.run.usage.total_tokens == held.run.usage.total_tokens
    assert held.run.complete
    assert held.run.repairs == []


def test_what_does_not_fit_any_more_falls_back_to_the_latest_answer() -> None:
    out = run(rf.PDR(widths=(4, 2)), rf.Budget(total=600))
    assert not out.run.complete
    assert "no room for distill" in out.run.cut
    assert {span.node for span in out.run.spans} == {"draft"}
    assert "cut short" in str(out.run.explain())


def test_without_any_answer_it_raises_before_a_token_is_spent() -> None:
    with pytest.raises(BudgetExceeded, match="needs at least") as caught:
        run(rf.PDR(widths=(4, 2)), rf.Budget(total=50))
    assert caught.value.run is not None
    assert caught.value.run.usage.total_tokens == 0
    assert caught.value.fix


def test_the_path_is_what_a_sequential_budget_counts() -> None:
    out = run(rf.PDR(widths=(16, 8, 4)), rf.Budget(sequential=16_000))
    drafts = [span for span in out.run.spans if span.node == "draft"]
    assert out.run.complete
    assert out.run.sequential_tokens <= 16_000
    assert out.run.usage.calls == 32
    assert all((span.max_tokens or 0) > 1_000 for span in drafts), "static splitting would leave 276 tokens"
    tight = run(rf.PDR(widths=(16, 8, 4)), rf.Budget(sequential=2_500))
    assert tight.run.sequential_tokens <= 2_500
    assert any("branches cut to their last" in repair for repair in tight.run.repairs)


def test_what_early_calls_leave_over_later_ones_may_use() -> None:
    out = run(rf.SequentialRefine(rounds=3), rf.Budget(sequential=2_000))
    caps = [span.max_tokens or 0 for span in out.run.spans]
    assert caps == sorted(caps)
    assert caps[0] < caps[-1]


def test_calls_are_left_out_down_to_min_branches() -> None:
    class Wide(rf.Program):
        def __init__(self, least: int | None) -> None:
            self.solve = rf.Generate("problem -> answer")
            self.least = least

        def plan(self, problem: Any) -> Any:
            return rf.answer(rf.vote(self.solve(problem=problem, n=8, min_branches=self.least), by="answer"))

    assert run(Wide(None), rf.Budget(calls=3)).run.usage.calls == 3
    assert any("room for 3 of 8 samples" in text for text in run(Wide(3), rf.Budget(calls=3)).run.repairs)
    with pytest.raises(BudgetExceeded):
        run(Wide(4), rf.Budget(calls=3))


def test_a_limit_of_calls_takes_branches_and_leaves_the_rest_their_tokens() -> None:
    both = run(rf.SelfConsistency(n=8), rf.Budget(total=4_000, calls=3)).run
    assert both.usage.calls == 3
    assert all((span.max_tokens or 0) > 1_000 for span in both.spans), "three samples share what eight would have had"
    assert both.squeezed


def test_a_deadline_votes_among_those_that_are_done() -> None:
    out = run(rf.SelfConsistency(n=8), rf.Budget(seconds=0.4), latency=lambda request, index: 0.05 + 0.1 * index)
    assert out.answer in ("0", "1", "2")
    assert not out.run.complete
    assert "ran out of time" in out.run.cut
    outcomes = [span.outcome for span in out.run.spans]
    assert 0 < outcomes.count("cancelled") < 8
    assert out.run.usage.cancelled_calls == outcomes.count("cancelled")
    assert out.run.wall_s < 0.8


def test_money_by_the_hour_is_time() -> None:
    lm = rf.scripted(f"{TEXT}\\boxed{{1}}", latency=0.2, dollars_per_hour=3600.0)
    program = rf.SequentialRefine(rounds=8)
    program.budget = rf.Budget(dollars=0.5)
    with dspy.context(lm=lm):
        run = program(problem="p").run
    assert "ran out of money" in run.cut
    assert 0.4 <= run.wall_s < 0.8


def test_money_by_the_token_comes_from_the_price_map() -> None:
    lm = rf.scripted(f"{TEXT}\\boxed{{1}}", model="gpt-4o-mini")
    with dspy.context(lm=lm), rf.limit(dollars=0.0002) as ledger:
        out = rf.PDR(widths=(8, 4))(problem="p")
    spent = out.run.usage.input_tokens * 0.15e-6 + out.run.usage.output_tokens * 0.6e-6
    assert ledger.spent.dollars == pytest.approx(spent)
    assert ledger.spent.dollars <= 0.0002
    assert out.answer == "1"
    with dspy.context(lm=rf.scripted("x")), rf.limit(dollars=1), pytest.raises(InputError, match="no price"):
        rf.ChainOfThought()(problem="p")


def test_runs_inside_one_limit_share_it() -> None:
    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*(program.acall(problem=f"p{i}") for i in range(5)), return_exceptions=True)

    program = rf.PDR(widths=(4, 2))
    with dspy.context(lm=scripted(latency=0.01)), rf.limit(total=5_000) as ledger:
        outs = asyncio.run(all_of_them())
    runs = [out.run for out in outs]
    assert ledger.spent.total == sum(run.usage.total_tokens for run in runs) <= 5_000
    assert ledger.spent.calls == sum(run.usage.calls for run in runs)
    assert ledger.held.total == ledger.held.calls == 0
    answered = [out for out in outs if not isinstance(out, BudgetExceeded)]
    assert len(answered) >= 3
    assert all(out.answer in ("0", "1", "2") for out in answered)


def test_limits_nest_and_reach_the_threads_of_dspy() -> None:
    devset = [dspy.Example(problem=f"p{i}", answer="1").with_inputs("problem") for i in range(4)]
    program = rf.ChainOfThought()
    with dspy.context(lm=rf.scripted("\\boxed{1}")), rf.limit(calls=10) as outer, rf.limit(calls=8) as inner:
        dspy.Evaluate(devset=devset, metric=rf.math_equal, num_threads=2)(program)
        assert (inner.spent.calls, outer.spent.calls) == (4, 4)


class Parts(rf.Program):
    """Two refinements of a draft, one under a budget of its own."""

    def __init__(self, budget: rf.Budget) -> None:
        self.draft = rf.Generate("problem -> answer")
        self.refine = rf.Generate("problem, earlier -> answer")
        self.part = budget

    def plan(self, problem: Any) -> Any:
        draft = self.draft(problem=problem)

        def refined() -> Any:
            first = rf.answer(self.refine(problem=problem, earlier=draft.text))
            return self.refine(problem=problem, earlier=first.text)

        return {"free": self.refine(problem=problem, earlier=draft.text).answer,
                "held": rf.within(self.part, refined).answer}  # fmt: skip


def test_a_part_of_a_run_has_a_budget_of_its_own() -> None:
    whole = run(Parts(rf.Budget(calls=2)))
    assert whole.run.usage.calls == 4
    assert whole.run.repairs == []
    cut = run(Parts(rf.Budget(calls=1)))
    assert cut.run.usage.calls == 3
    assert cut.run.complete, "the part gave the answer inside it, the run went on"
    assert any("cut short" in repair for repair in cut.run.repairs)
    assert cut.held in ("0", "1", "2")


def test_a_nested_program_brings_its_budget_along() -> None:
    class Outer(rf.Program):
        def __init__(self) -> None:
            self.inner = rf.SelfConsistency(n=6)
            self.inner.budget = rf.Budget(calls=2)

        def plan(self, problem: Any) -> Any:
            return self.inner(problem=problem)

    out = run(Outer())
    assert out.run.usage.calls == 2
    assert "at most 2 calls" in str(Outer().explain())


def test_functions_spend_from_the_budget_of_the_run_that_calls_them() -> None:
    inner = rf.SelfConsistency(n=3)

    class Outer(rf.Program):
        def __init__(self) -> None:
            self.solve = rf.Generate("problem -> answer")

        def plan(self, problem: Any) -> Any:
            asked = rf.call(lambda text: inner(problem=text).answer, problem, cap=3)
            return {"asked": asked, "own": self.solve(problem=problem).answer}

    with dspy.context(lm=scripted()), rf.limit(calls=10) as ledger:
        Outer()(problem="p")
    assert ledger.spent.calls == 4


def test_explain_shows_a_budget_and_refuses_an_impossible_one() -> None:
    program = rf.PDR(widths=(16, 8, 4))
    program.budget = rf.Budget(sequential=16_000)
    with dspy.context(lm=scripted()):
        explanation = program.explain()
    assert explanation.bound.sequential_tokens == 16_000
    assert "budget: 16,000 sequential tokens" in str(explanation)
    assert explanation.to_json()["budget"] == {"sequential": 16_000}
    assert next(step for step in explanation.to_json()["steps"] if step["name"] == "draft")["allowance"] > 1_000
    program.budget = rf.Budget(sequential=50)
    with dspy.context(lm=scripted()), pytest.raises(BudgetExceeded, match="needs at least"):
        program.explain()
    program.budget = 5  # type: ignore[assignment]
    with dspy.context(lm=scripted()), pytest.raises(InputError, match="budget of PDR"):
        program(problem="p")
