"""Which joins do not wait for their list: those that a step waits for which needs nothing else of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import dspy
import pytest

import reasonflow as rf
from reasonflow.compiler.passes import lower
from reasonflow.compiler.stream_joins import stream_joins
from reasonflow.errors import ProgramError
from reasonflow.language.program import trace
from reasonflow.plan.check import check
from reasonflow.plan.explain import explain
from reasonflow.plan.nodes import Get, Plan


class Made(rf.Program):
    """A program given as a function of two call sites and its input."""

    def __init__(self, make: Callable[[Any, Any, Any], Any]) -> None:
        self.solve = rf.Generate("problem -> answer")
        self.refine = rf.Generate("problem, earlier -> answer")
        self.make = make

    def plan(self, problem: Any) -> Any:
        return {"value": self.make(self.solve, self.refine, problem)}


def streams(plan: Plan) -> list[str]:
    """The joins that do not wait, as the plan's steps spell them."""
    found = [node.streams for node in plan.walk() if node.streams]
    nodes = plan.nodes if found else ()
    return [
        f"[{nodes[join].op.key}]" if isinstance(nodes[join].op, Get) else type(nodes[join].op).__name__.lower()
        for joins in found
        for join in joins
    ]


def lowered(make: Callable[[Any, Any, Any], Any]) -> Plan:
    return lower(trace(Made(make)).plan)


def shared_quorum(solve: Any, refine: Any, p: Any) -> Any:
    drafts = solve(problem=p, n=5)
    return [refine(problem=p, earlier=rf.quorum(drafts, by="answer").text).answer, drafts.answer]


def of_a_field(solve: Any, refine: Any, p: Any) -> Any:
    drafts = solve(problem=p, n=5).answer
    return [refine(problem=p, earlier=rf.quorum(drafts)).answer, drafts]


def lone_vote(solve: Any, refine: Any, p: Any) -> Any:
    return refine(problem=p, earlier=rf.vote(solve(problem=p, n=5), by="answer").text).answer


def lone_quorum(solve: Any, refine: Any, p: Any) -> Any:
    return refine(problem=p, earlier=rf.quorum(solve(problem=p, n=5), by="answer").text).answer


def two_quorums(solve: Any, refine: Any, p: Any) -> Any:
    drafts = solve(problem=p, n=5)
    soon = refine(problem=p, earlier=rf.quorum(drafts, by="answer").text).answer
    return [soon, rf.quorum(drafts.answer, need=4)]


def nothing_behind(solve: Any, refine: Any, p: Any) -> Any:
    drafts = solve(problem=p, n=5)
    return [rf.answer(rf.quorum(drafts, by="answer")).answer, drafts.answer]


def reads_the_list_too(solve: Any, refine: Any, p: Any) -> Any:
    drafts = solve(problem=p, n=5)
    return rf.call(lambda winner, all_of_them: winner, rf.vote(drafts, by="answer").text, drafts.text)


def forked(solve: Any, refine: Any, p: Any) -> Any:
    items = rf.fork(4, lambda number: solve(problem=number).answer)
    return [rf.call(str, rf.vote(items)), items]


def by_number(solve: Any, refine: Any, p: Any) -> Any:
    drafts = solve(problem=p, n=3)
    return [refine(problem=p, earlier=drafts[0].text).answer, rf.call(str, drafts.answer[-1]), drafts.answer]


def condition(solve: Any, refine: Any, p: Any) -> Any:
    drafts = solve(problem=p, n=3)
    return rf.when(rf.vote(drafts, by="answer").answer, lambda: refine(problem=p, earlier=drafts).answer, lambda: p)


def one_record(solve: Any, refine: Any, p: Any) -> Any:
    return refine(problem=p, earlier=solve(problem=p).answer).answer


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (shared_quorum, ["quorum"]),
        (of_a_field, ["quorum"]),
        (lone_vote, ["vote"]),
        (lone_quorum, []),  # it ends the list
        (two_quorums, ["quorum"]),
        (nothing_behind, []),
        (reads_the_list_too, []),
        (forked, ["vote"]),
        (by_number, ["[0]", "[-1]"]),
        (condition, ["vote"]),
        (one_record, []),
        (lambda solve, refine, p: refine(problem=p, earlier=solve(problem=p, n=5)[:3]).answer, []),
    ],
)
def test_a_join_streams_where_a_step_can_start_before_the_list_is_whole(
    make: Callable[[Any, Any, Any], Any], expected: list[str]
) -> None:
    assert streams(lowered(make)) == expected


def test_lists_inside_bodies_stream_too() -> None:
    plan = lowered(lambda solve, refine, p: rf.loop(lambda x: lone_vote(solve, refine, x), p, max_rounds=2))
    assert sum(len(node.streams) for node in plan.walk()) == 1


def test_the_plan_stays_equal_and_says_what_streams() -> None:
    plan = trace(Made(shared_quorum)).plan
    assert stream_joins(plan) == plan
    assert "streams to quorum: what reads only that starts" in str(explain("made", lowered(shared_quorum), None))
    assert "streams to" not in str(explain("made", lowered(lone_quorum), None))


def test_a_stream_that_goes_nowhere_is_a_broken_plan() -> None:
    plan = trace(Made(lone_vote)).plan
    broken = replace(plan, nodes=(replace(plan.nodes[0], streams=(99,)), *plan.nodes[1:]))
    with pytest.raises(ProgramError, match="streams to a step"):
        check(broken)


def test_a_streamed_join_is_counted_by_the_branches_it_needs() -> None:
    """An estimate's least way does not lead through a branch that nobody has to wait for."""
    words = ["short", *["a problem of very many words indeed, so many that its branch is the longest"] * 2, "tiny"]

    def make(solve: Any, refine: Any, p: Any) -> Any:
        return rf.call(str, rf.vote(rf.each(words, lambda item: solve(problem=item).answer)))

    with dspy.context(lm=rf.scripted("\\boxed{1}", latency=lambda request, index: len(request.prompt.tokens) / 1e4)):
        program = Made(make)
        found = program.estimate([{"problem": "p"}]).sequential_tokens
        run = program(problem="p").run
    assert found is not None
    assert found.low <= run.sequential_tokens
