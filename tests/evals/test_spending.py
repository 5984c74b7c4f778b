"""Budgets of evaluations: what one run may spend, what all may, and what happens when that is gone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import dspy
import pytest

import reasonflow as rf
from reasonflow.errors import BudgetExceeded, InputError
from reasonflow.evals import report
from reasonflow.evals.dataset import Problem
from reasonflow.evals.runner import Evaluation, evaluate
from reasonflow.evals.samples import FILE
from reasonflow.plan.budget import Budget
from reasonflow.runtime.ledger import Amount
from reasonflow.runtime.spending import Room, Spending

PROBLEMS = [Problem(id=str(n), inputs={"problem": f"{n} + {n} = ?"}, answer=str(2 * n)) for n in range(6)]


def run(program: dspy.Module, **options: Any) -> Evaluation:
    options = {"lm": rf.scripted(lambda *_: "So \\boxed{4}", max_tokens=20), "samples": 2, **options}

    async def work() -> Evaluation:
        return await evaluate(program, PROBLEMS, **options)

    return anyio.run(work)


def counting(asked: list[str], **options: Any) -> dspy.LM:
    def answer(prompt: str, seed: int | None, index: int) -> str:
        asked.append(f"{prompt}{seed}")
        return "So \\boxed{4}"

    return rf.scripted(answer, max_tokens=20, **options)


def summary(found: Evaluation) -> report.Report:
    return report.summarise(found, program="p", benchmark="b", model="m", seed=0)


@pytest.mark.parametrize("concurrency", [1, 4, 50])
def test_when_the_overall_budget_is_spent_no_further_sample_starts(tmp_path: Path, concurrency: int) -> None:
    asked: list[str] = []
    options = {"lm": counting(asked), "out": tmp_path, "concurrency": concurrency}
    found = run(rf.SelfConsistency(n=3), overall_budget=Budget(calls=16), **options)
    assert len(found.samples) == 5
    assert all(sample.complete and sample.calls == 3 for sample in found.samples)
    assert len(asked) == 15
    assert found.stopped.startswith("stopped by the budget: 5 of 12 samples, 7 missing")
    figures = summary(found)
    assert "5 of 12" in str(figures)
    assert "stopped by the budget: 5 of 12 samples" in str(figures)
    assert figures.to_json()["stopped"] == found.stopped


def test_a_larger_overall_budget_goes_on_and_what_was_spent_counts(tmp_path: Path) -> None:
    asked: list[str] = []
    options = {"lm": counting(asked), "out": tmp_path, "concurrency": 3}
    run(rf.SelfConsistency(n=3), overall_budget=Budget(calls=16), **options)
    before = (tmp_path / FILE).read_text()
    same = run(rf.SelfConsistency(n=3), overall_budget=Budget(calls=16), **options)
    assert (len(same.samples), len(asked)) == (5, 15)
    more = run(rf.SelfConsistency(n=3), overall_budget=Budget(calls=30), **options)
    assert (len(more.samples), len(asked), more.resumed) == (10, 30, 5)
    everything = run(rf.SelfConsistency(n=3), **options)
    assert (len(everything.samples), everything.stopped, len(asked)) == (12, "", 36)
    assert len(set(asked)) == 36
    assert (tmp_path / FILE).read_text().startswith(before)


@pytest.mark.parametrize("total", [300, 1_000, 2_500])
def test_an_overall_budget_of_tokens_is_never_overspent(tmp_path: Path, total: int) -> None:
    lm = rf.scripted(lambda *_: "So \\boxed{4}", max_tokens=20)
    found = run(rf.PDR(widths=(3, 2)), lm=lm, overall_budget=Budget(total=total))

    counters = anyio.run(lm.engine.runtime.arun, lm.engine.runtime.backend.counters)
    assert counters.prompt_tokens + counters.output_tokens <= total
    assert sum(sample.total_tokens or 0 for sample in found.samples) <= total
    assert all(sample.complete for sample in found.samples)
    assert found.stopped


def test_time_is_a_budget_too(tmp_path: Path) -> None:
    asked: list[str] = []
    lm = counting(asked, latency=0.1)
    budget = Budget(seconds=0.55)
    found = run(rf.ChainOfThought(), lm=lm, out=tmp_path, concurrency=1, overall_budget=budget)
    assert 1 <= len(found.samples) <= 5
    assert all(sample.complete and not sample.cut for sample in found.samples)
    again = run(rf.ChainOfThought(), lm=lm, out=tmp_path, concurrency=1, overall_budget=budget)
    assert len(again.samples) <= 6  # the seconds of the first session are gone
    assert len(run(rf.ChainOfThought(), lm=lm, out=tmp_path, overall_budget=Budget(seconds=60)).samples) == 12


def test_a_run_that_the_overall_budget_cuts_is_no_sample_and_nothing_of_it_is_lost(tmp_path: Path) -> None:
    asked: list[str] = []
    lm = counting(asked)
    # The first run is known by its worst case only, so it starts, and is cut in the middle.
    found = run(rf.PDR(widths=(3, 2)), lm=lm, out=tmp_path, overall_budget=Budget(calls=5))
    assert found.samples == ()
    with pytest.raises(BudgetExceeded, match="no result"):
        summary(found)
    assert 0 < len(asked) <= 5
    whole = run(rf.PDR(widths=(3, 2)), lm=lm, out=tmp_path)
    assert len(whole.samples) == 12
    assert {(sample.complete, sample.calls) for sample in whole.samples} == {(True, 8)}


def test_a_text_that_the_overall_budget_cut_short_is_not_taken_for_a_whole_one(tmp_path: Path) -> None:
    lm = rf.scripted(lambda *_: "word " * 60 + "\\boxed{4}", max_tokens=200)
    found = run(rf.ChainOfThought(), lm=lm, out=tmp_path, overall_budget=Budget(total=80))
    assert found.samples == ()
    whole = run(rf.ChainOfThought(), lm=lm, out=tmp_path)
    assert {sample.answer for sample in whole.samples} == {"4"}


def test_what_was_finished_when_the_time_was_up_is_not_asked_again(tmp_path: Path) -> None:
    asked: list[str] = []
    lm = counting(asked, latency=0.1)
    found = run(Long(marked=True), lm=lm, out=tmp_path, concurrency=1, overall_budget=Budget(seconds=0.15))
    assert found.samples == ()
    assert len(asked) == 2
    assert len(run(Long(marked=True), lm=lm, out=tmp_path).samples) == 12
    assert len(asked) == 12 * 2 + 1  # the second call had not come to its end
    assert asked.count(asked[0]) == 1


class Long(rf.Program):
    """An answer after the first step, a better one after the second; how long the first is, the problem says."""

    def __init__(self, marked: bool) -> None:
        self.first = rf.Generate("problem -> answer")
        self.second = rf.Generate("problem, hint -> answer")
        self.marked = marked

    def plan(self, problem: Any) -> Any:
        first = self.first(problem=problem)
        if self.marked:
            first = rf.answer(first)
        return rf.answer(self.second(problem=problem, hint=first.answer))


@pytest.mark.parametrize("marked", [True, False])
def test_a_run_that_its_own_budget_cuts_is_a_sample(tmp_path: Path, marked: bool) -> None:
    lm = rf.scripted(lambda *_: "word " * 30 + "\\boxed{4}", latency=0.2)
    found = run(Long(marked), lm=lm, out=tmp_path, samples=1, budget=Budget(seconds=0.3))
    assert len(found.samples) == 6
    assert not any(sample.complete for sample in found.samples)
    figures = summary(found)
    assert (figures.cut, figures.cut_answered, figures.errors) == (6, 6 if marked else 0, 0)
    assert figures.accuracy.value == pytest.approx(1 / 6 if marked else 0)
    said = f"runs, {6 if marked else 0} of them with an answer"
    assert "cut by the budget" in str(figures)
    assert said in str(figures)
    row = json.loads((tmp_path / FILE).read_text().splitlines()[0])
    assert row["cut"]
    assert row["answer"] == ("4" if marked else None)
    assert row["error"].startswith("" if marked else "BudgetExceeded")


def test_no_run_spends_more_than_its_budget_and_the_program_keeps_its_own() -> None:
    program = rf.SelfConsistency(n=8)
    found = run(program, budget=Budget(calls=4))
    assert {sample.calls for sample in found.samples} == {4}
    assert program.budget is None
    program.budget = Budget(calls=2)
    assert {sample.calls for sample in run(program).samples} == {2}
    assert {sample.calls for sample in run(program, budget=Budget(calls=3)).samples} == {3}


def test_a_cut_by_the_runs_own_budget_is_not_blamed_on_a_shared_one_with_room() -> None:
    found = run(rf.SelfConsistency(n=8), budget=Budget(calls=4), overall_budget=Budget(calls=1_000))
    assert (len(found.samples), found.stopped) == (12, "")
    found = run(rf.SelfConsistency(n=8), budget=Budget(calls=4), overall_budget=Budget(calls=22))
    assert len(found.samples) == 5


def test_the_budget_of_a_run_is_part_of_the_evaluation_and_the_overall_one_is_not(tmp_path: Path) -> None:
    run(rf.ChainOfThought(), out=tmp_path, budget=Budget(total=5_000), overall_budget=Budget(calls=3))
    run(rf.ChainOfThought(), out=tmp_path, budget=Budget(total=5_000), overall_budget=Budget(calls=4))
    with pytest.raises(InputError, match=r"budget\.total was 5000, now 6000"):
        run(rf.ChainOfThought(), out=tmp_path, budget=Budget(total=6_000))


@pytest.mark.parametrize(
    ("change", "kind", "says"),
    [
        ({"budget": Budget(total=3)}, BudgetExceeded, "needs at least"),
        ({"overall_budget": Budget(sequential=3)}, InputError, "sequential"),
        ({"overall_budget": Budget(dollars=3)}, InputError, "no price is known"),
    ],
)
def test_budgets_that_cannot_be_kept_are_named_before_anything_runs(
    tmp_path: Path, change: dict[str, Any], kind: type[Exception], says: str
) -> None:
    asked: list[str] = []
    with pytest.raises(kind, match=says):
        run(rf.SelfConsistency(n=3), lm=counting(asked), out=tmp_path / "run", **change)
    assert not asked
    assert not (tmp_path / "run").exists()


def test_a_plain_module_is_held_to_no_budget() -> None:
    lm = dspy.utils.DummyLM([{"answer": "4"}] * 12)
    for option in ("budget", "overall_budget"):
        with pytest.raises(InputError, match="Predict cannot be held to a budget"):
            run(dspy.Predict("problem -> answer"), lm=lm, **{option: Budget(calls=3)})


def test_dollars_of_an_engine_by_the_hour_are_time(tmp_path: Path) -> None:
    lm = rf.scripted(lambda *_: "\\boxed{4}", latency=0.05, dollars_per_hour=3600.0)
    found = run(rf.ChainOfThought(), lm=lm, out=tmp_path, concurrency=1, overall_budget=Budget(dollars=0.3))
    assert 1 <= len(found.samples) <= 6
    assert len(run(rf.ChainOfThought(), lm=lm, out=tmp_path, overall_budget=Budget(dollars=99)).samples) == 12


@pytest.mark.parametrize("start", [lambda: None])
def test_a_run_that_spent_nothing_says_nothing_of_the_others(start: Callable[[], None]) -> None:
    async def work() -> list[bool]:
        spending = Spending(Room(Budget(calls=10), {"calls": 8}, earlier=[Amount()]))
        allowed = []
        async with spending.run() as one:
            allowed.append(one is not None)
            with anyio.move_on_after(0.05) as waiting:
                async with spending.run():
                    pytest.fail("a second run of eight calls has no room beside the first")
            allowed.append(waiting.cancelled_caught)
        return allowed

    assert anyio.run(work) == [True, True]
