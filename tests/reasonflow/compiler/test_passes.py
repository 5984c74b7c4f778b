"""Passes keep answers, and do what they are for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import dspy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reasonflow as rf
from reasonflow.compiler.deduplicate import deduplicate
from reasonflow.compiler.fuse_samples import fuse_samples
from reasonflow.compiler.passes import PASSES, lower, stages
from reasonflow.compiler.prioritise import prioritise
from reasonflow.errors import ProgramError
from reasonflow.language.program import trace
from reasonflow.plan.check import check
from reasonflow.plan.nodes import Fork, Generate, Plan
from reasonflow.runtime.launch import launch


class Made(rf.Program):
    """A program given as a function of two call sites and its input."""

    def __init__(self, make: Any, temperature: float | None = None) -> None:
        config = {} if temperature is None else {"temperature": temperature}
        self.solve = rf.Generate("problem -> answer", config=config)
        self.mend = rf.Generate("problem, draft -> answer")
        self.make = make

    def plan(self, problem: Any) -> Any:
        return {"value": self.make(self.solve, self.mend, problem)}


def count(plan: Plan, kind: type) -> int:
    return sum(isinstance(node.op, kind) for node in plan.walk())


def test_equal_greedy_calls_run_once_and_samples_are_never_merged() -> None:
    def twice(solve: Any, mend: Any, p: Any) -> Any:
        return [solve(problem=p).answer, solve(problem=p).answer]

    assert count(deduplicate(trace(Made(twice, temperature=0.0)).plan), Generate) == 1
    assert count(deduplicate(trace(Made(twice, temperature=0.7)).plan), Generate) == 2
    assert count(deduplicate(trace(Made(twice)).plan), Generate) == 2
    lm = rf.scripted("\\boxed{1}")
    with dspy.context(lm=lm):
        out = Made(twice, temperature=0.0)(problem="p")
    assert out.value == ["1", "1"]
    assert out.run.usage.calls == 1


def test_a_fork_of_one_call_becomes_a_group_with_the_same_samples() -> None:
    def forked(solve: Any, mend: Any, p: Any) -> Any:
        return rf.fork(5, lambda: solve(problem=p))

    plan = trace(Made(forked)).plan
    fused = fuse_samples(plan)
    assert count(plan, Fork) == 1
    assert count(fused, Fork) == 0
    assert [node.op.n for node in fused.nodes if isinstance(node.op, Generate)] == [5]
    texts = samples(plan), samples(fused)
    assert texts[0] == texts[1]
    assert len(set(texts[0])) == 5


def samples(plan: Plan) -> list[str]:
    """The answers of a plan, lowered no further, whose engine answers with the seed it is given."""
    with dspy.context(lm=rf.scripted(lambda prompt, seed, index: f"\\boxed{{{seed}}}")):
        traced = trace(Made(lambda solve, mend, p: mend(problem=p, draft=solve(problem=p))))
        out = launch(traced, {"problem": "p"}, plan)
    return [item.answer for item in out.value]


@settings(max_examples=60, deadline=None)
@given(
    st.recursive(st.sampled_from(["solve", "mend"]), lambda inner: st.tuples(st.integers(1, 3), inner), max_leaves=3)
)
def test_every_pass_keeps_the_answers_of_nested_forks(shape: Any) -> None:
    def build(shape: Any, solve: Any, mend: Any, p: Any) -> Any:
        if shape == "solve":
            return solve(problem=p).answer
        if shape == "mend":
            return mend(problem=p, draft=solve(problem=p)).answer
        return rf.fork(shape[0], lambda: build(shape[1], solve, mend, p))

    plan = trace(Made(lambda solve, mend, p: [rf.call(lambda v: Answered(v), build(shape, solve, mend, p))])).plan
    texts = {name: samples(step) for name, step in stages(plan)}
    assert len({repr(text) for text in texts.values()}) == 1


class Answered:
    """What `samples` reads: anything with an answer."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer


def test_priorities_count_the_calls_that_are_still_to_come() -> None:
    plan = prioritise(trace(rf.PDR(widths=(4, 2))).plan)
    by_name = {node.name: node.priority for node in plan.nodes if isinstance(node.op, Generate)}
    assert by_name == {"draft": 5, "distill": 4, "refine": 3, "distill#2": 2, "refine#2": 1}


def test_equal_programs_are_lowered_once_and_changed_sites_again() -> None:
    program = rf.PDR(widths=(4, 2))
    first = lower(trace(program).plan)
    assert lower(trace(program).plan) is first
    program.draft.demos = [dspy.Example(problem="a", reasoning="b", answer="c")]
    assert lower(trace(program).plan) is not first
    program.draft.demos = []
    assert lower(trace(program).plan) is first


def test_a_pass_that_breaks_a_plan_is_named() -> None:
    def careless(plan: Plan) -> Plan:
        return replace(plan, output=999)

    with pytest.raises(ProgramError, match="broken after careless"):
        stages(trace(rf.ChainOfThought()).plan, (careless,))


def test_the_passes_are_a_visible_list() -> None:
    names = ["deduplicate", "fuse_samples", "stop_early", "stream_joins", "share_prefixes", "prioritise"]
    assert [rewrite.__name__ for rewrite in PASSES] == names


def test_check_refuses_what_no_program_can_trace() -> None:
    plan = trace(rf.SelfConsistency(n=4)).plan
    generate = next(node for node in plan.nodes if isinstance(node.op, Generate))
    wide = replace(generate, op=replace(generate.op, n=100_000))
    with pytest.raises(ProgramError, match="100000 wide"):
        check(replace(plan, nodes=tuple(wide if node is generate else node for node in plan.nodes)))
    ahead = replace(generate, args=(len(plan.nodes) - 1,))
    with pytest.raises(ProgramError, match="does not come before it"):
        check(replace(plan, nodes=tuple(ahead if node is generate else node for node in plan.nodes)))
    loop = trace(Made(lambda solve, mend, p: rf.loop(lambda s: s, p, max_rounds=3))).plan
    endless = tuple(
        replace(n, op=replace(n.op, max_rounds=0)) if type(n.op).__name__ == "Loop" else n for n in loop.nodes
    )
    with pytest.raises(ProgramError, match="no usable bound"):
        check(replace(loop, nodes=endless))
