"""Which lists may end early: those that nobody but quorums reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dspy
import pytest

import reasonflow as rf
from reasonflow.compiler.stop_early import stop_early
from reasonflow.errors import AnswerError
from reasonflow.language.program import trace
from reasonflow.plan.nodes import Each, Fork, Generate


class Made(rf.Program):
    """A program given as a function of one call site and its input."""

    def __init__(self, make: Callable[[Any, Any], Any]) -> None:
        self.solve = rf.Generate("problem -> answer")
        self.make = make

    def plan(self, problem: Any) -> Any:
        return {"value": self.make(self.solve, problem)}


def stops(make: Callable[[Any, Any], Any]) -> list[tuple[str | None, int | None]]:
    """What the quorums that may end the first list vote by and need."""
    plan = stop_early(trace(Made(make)).plan)
    ops = (node.op for node in plan.walk() if isinstance(node.op, (Generate, Fork, Each)))
    first = next(op for op in ops if not isinstance(op, Generate) or op.n is not None)
    return [(rule.by, rule.need) for rule in first.stops]


def both(solve: Any, p: Any) -> Any:
    drafts = solve(problem=p, n=5)
    return [rf.quorum(drafts, by="answer").answer, rf.quorum(drafts.answer, need=2)]


def read_too(solve: Any, p: Any) -> Any:
    drafts = solve(problem=p, n=5)
    return [rf.quorum(drafts, by="answer").answer, rf.call(len, drafts)]


def field_read_too(solve: Any, p: Any) -> Any:
    drafts = solve(problem=p, n=5)
    return [rf.quorum(drafts, by="answer").answer, drafts.answer]


def counted(solve: Any, p: Any) -> Any:
    drafts = solve(problem=p, n=5)
    return [rf.quorum(drafts, by="answer").answer, rf.vote(drafts, by="answer").answer]


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda solve, p: rf.quorum(solve(problem=p, n=5), by="answer").answer, [("answer", None)]),
        (lambda solve, p: rf.quorum(solve(problem=p, n=5).answer, need=3), [("answer", 3)]),
        (lambda solve, p: rf.quorum(rf.fork(5, lambda: solve(problem=p).answer)), [(None, None)]),
        (lambda solve, p: rf.quorum(rf.each(["a", "b"], lambda x: solve(problem=x).answer)), [(None, None)]),
        (both, [("answer", None), ("answer", 2)]),
        (read_too, []),
        (field_read_too, []),
        (counted, []),
        (lambda solve, p: rf.vote(solve(problem=p, n=5), by="answer").answer, []),
        (lambda solve, p: rf.quorum(solve(problem=p, n=5)[:3], by="answer").answer, []),
        (lambda solve, p: solve(problem=p, n=5).answer, []),
    ],
)
def test_a_list_ends_early_where_only_quorums_read_it(
    make: Callable[[Any, Any], Any], expected: list[tuple[str | None, int | None]]
) -> None:
    assert stops(make) == expected


def test_lists_inside_bodies_end_early_too() -> None:
    def nested(solve: Any, p: Any) -> Any:
        return rf.loop(lambda x: rf.quorum(solve(problem=x, n=5), by="answer").answer, p, max_rounds=2)

    assert stops(nested) == [("answer", None)]


@pytest.mark.parametrize("least", [None, 1, 4, 5])
def test_a_quorum_does_not_cost_a_fork_the_branches_it_must_have(least: int | None) -> None:
    program = Made(lambda solve, p: rf.quorum(solve(problem=p, n=5, min_branches=least), by="answer").answer)
    lm = rf.scripted("\\boxed{1}", latency=lambda request, index: 0.02 + 0.04 * index, model="quorum")
    with dspy.context(lm=lm):
        out = program(problem="p")
    assert out.value == "1"
    done = sum(span.outcome == "done" for span in out.run.spans)
    assert done >= max(3, least or 0)
    assert done < 5 or least == 5


def test_a_group_that_is_decided_asks_for_nothing_again() -> None:
    class Fields(rf.Program):
        def __init__(self) -> None:
            self.solve = rf.Generate("problem -> answer", style="fields", retries=2)

        def plan(self, problem: Any) -> Any:
            return rf.quorum(self.solve(problem=problem, n=5), by="answer")

    asked: list[int] = []

    def answer(prompt: str, seed: int | None, index: int) -> str:
        asked.append(index)
        return "[[ ## answer ## ]]\n1" if index else "no field at all"

    lm = rf.scripted(answer, latency=lambda request, index: 0.01 + 0.03 * index)
    with dspy.context(lm=lm):
        out = Fields()(problem="p")
    assert out.answer == "1"
    assert len(asked) == 5, "the unreadable first sample has no say any more"


def test_a_branch_that_gives_nothing_is_not_taken_for_a_cancelled_one() -> None:
    program = Made(lambda solve, p: rf.quorum(rf.each(["a", "b"], lambda item: solve(problem=item).answer)))
    with dspy.context(lm=rf.scripted("no answer at all")), pytest.raises(AnswerError, match="no ballot"):
        program(problem="p")
