"""The longest way through a run as it was run: also behind conditions, rounds and parts that no call reads from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dspy
import pytest

import reasonflow as rf
from reasonflow.errors import BudgetExceeded, RunError


class Made(rf.Program):
    """A program given as a function of two call sites and its input."""

    def __init__(self, make: Callable[..., Any]) -> None:
        self.first = rf.Generate("problem -> answer")
        self.second = rf.Generate("problem -> answer", floor_tokens=8)
        self.make = make

    def plan(self, problem: Any) -> Any:
        return {"value": self.make(self.first, self.second, problem)}


def run(make: Callable[..., Any], budget: rf.Budget | None = None) -> Any:
    program = Made(make)
    program.budget = budget
    with dspy.context(lm=rf.scripted("word \\boxed{1}", window=1_000)):
        return program(problem="p")


async def yes(value: Any) -> bool:
    return True


def chosen(first: Any, second: Any, p: Any) -> Any:
    return rf.when(rf.call(yes, first(problem=p).answer), lambda: second(problem=p).answer, lambda: p)


def chosen_outside(first: Any, second: Any, p: Any) -> Any:
    outside = second(problem=p).answer  # wanted by the side alone: begun when the condition is known
    return rf.when(rf.call(yes, first(problem=p).answer), lambda: outside, lambda: p)


def rounds(first: Any, second: Any, p: Any) -> Any:
    return rf.loop(lambda state: rf.call(str, first(problem=p).answer), p, max_rounds=2)


def forked(first: Any, second: Any, p: Any) -> Any:
    items = rf.call(lambda text: [text, text], first(problem=p).answer)
    return rf.each(items, lambda item, index: second(problem=p).answer, cap=2)


def limited(first: Any, second: Any, p: Any) -> Any:
    known = first(problem=p).answer
    return rf.within(rf.Budget(calls=9), lambda: [rf.call(str, known), second(problem=p).answer])


@pytest.mark.parametrize("make", [chosen, chosen_outside, rounds, forked, limited])
def test_what_waits_for_a_call_comes_behind_it(make: Callable[..., Any]) -> None:
    run_ = run(make).run
    one = run_.spans[0].input_tokens + run_.spans[0].output_tokens
    assert len(run_.critical_path) == 2
    assert run_.sequential_tokens == 2 * one
    assert run_.token_latency == 2 * run_.spans[0].output_tokens


@pytest.mark.parametrize("make", [chosen, chosen_outside])
def test_bounds_hold_behind_conditions(make: Callable[..., Any]) -> None:
    with dspy.context(lm=rf.scripted("x", window=1_000)):
        bound = Made(make).explain().bound
    assert bound.sequential_tokens == 2_000
    assert bound.token_latency == 2_000


def test_a_sequential_budget_counts_what_its_part_waited_for_from_its_entry() -> None:
    def part(first: Any, second: Any, p: Any) -> Any:
        known = first(problem=p).answer
        body = lambda: [rf.call(str, known), second(problem=p).answer]  # noqa: E731
        return rf.within(rf.Budget(sequential=60), body)

    # The second call reads nothing of the first: it may not write as if the part had begun with the run.
    second = run(part).run.spans[1]
    assert second.input_tokens + (second.max_tokens or 0) <= 60
    with pytest.raises(BudgetExceeded):
        run(lambda first, second, p: rf.within(rf.Budget(sequential=30), lambda: second(problem=p).answer))


def test_of_fewer_branches_all_must_give_a_result() -> None:
    async def broken(value: Any) -> Any:
        raise ValueError(value)

    async def two(value: Any) -> list[str]:
        return ["a", "b"]

    def every(function: Any) -> Callable[..., Any]:
        return lambda first, second, p: rf.each(
            rf.call(two, p), lambda item: rf.call(function, item), cap=5, min_branches=3
        )

    assert run(every(yes)).value == [True, True]
    with pytest.raises(RunError, match="only 0 of 2 branches"):
        run(every(broken))


class Marked(rf.Program):
    """A vote that is a partial answer first, and needed only once a condition is known."""

    def __init__(self) -> None:
        self.solve = rf.Generate("problem -> answer")
        self.check = rf.Generate("problem -> answer")

    def plan(self, problem: Any) -> Any:
        drafts = self.solve(problem=problem, n=3)
        winner = rf.answer(rf.vote(drafts, by="answer"))
        wanted = rf.call(bool, self.check(problem=drafts[0].text).text)
        return {"x": rf.when(wanted, lambda: winner.answer, lambda: "none")}


def test_a_partial_answer_that_is_needed_later_is_there() -> None:
    with dspy.context(lm=rf.scripted("\\boxed{7}")):
        assert Marked()(problem="p").x == "7"


def test_a_partial_answer_that_failed_fails_aloud_where_it_is_needed_later() -> None:
    with dspy.context(lm=rf.scripted("nothing in a box")), pytest.raises(rf.ReasonFlowError, match="no ballot"):
        Marked()(problem="p")
