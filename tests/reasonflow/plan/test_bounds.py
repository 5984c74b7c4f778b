"""Bounds are never exceeded, and are what people count by hand."""

from __future__ import annotations

from typing import Any

import dspy
from hypothesis import given, settings
from hypothesis import strategies as st

import reasonflow as rf
from reasonflow.compiler.passes import lower
from reasonflow.language.program import trace
from reasonflow.plan.bounds import bound


def test_pdr_makes_29_generations_and_3_distillations() -> None:
    worst = bound(lower(trace(rf.PDR(widths=(16, 8, 4))).plan), 8192)
    assert worst.calls == 29 + 3
    assert worst.alive == 16
    assert worst.sequential_tokens == (4 + 3) * 8192


def test_without_a_window_only_capped_output_is_bounded() -> None:
    worst = bound(lower(trace(rf.ChainOfThought(config={"max_tokens": 100})).plan), None)
    assert worst.output_tokens == worst.token_latency == 100
    assert worst.total_tokens is None


class Tree(rf.Program):
    """Calls in the arrangement a nested description asks for."""

    def __init__(self, shape: Any) -> None:
        self.solve = rf.Generate("problem -> answer", config={"max_tokens": 8})
        self.shape = shape

    def plan(self, problem: Any) -> Any:
        return {"value": self.build(self.shape, problem)}

    def build(self, shape: Any, p: Any) -> Any:
        match shape:
            case "call":
                return self.solve(problem=p).answer
            case ("group", n):
                return rf.vote(self.solve(problem=p, n=n), by="answer").answer
            case ("fork", n, inner):
                return rf.vote(rf.fork(n, lambda: self.build(inner, p)))
            case ("loop", n, inner):
                return rf.loop(lambda state: self.build(inner, state), p, max_rounds=n)
            case ("when", inner, other):
                return rf.when(rf.call(len, p), lambda: self.build(inner, p), lambda: self.build(other, p))
            case ("both", inner, other):
                return rf.vote([self.build(inner, p), self.build(other, p)])
        raise AssertionError(shape)


TREES = st.recursive(
    st.just("call") | st.tuples(st.just("group"), st.integers(1, 4)),
    lambda inner: st.one_of(
        st.tuples(st.just("fork"), st.integers(1, 3), inner),
        st.tuples(st.just("loop"), st.integers(1, 3), inner),
        st.tuples(st.just("when"), inner, inner),
        st.tuples(st.just("both"), inner, inner),
    ),
    max_leaves=5,
)


@settings(max_examples=80, deadline=None)
@given(TREES)
def test_no_run_exceeds_its_bounds(shape: Any) -> None:
    lm = rf.scripted("It is \\boxed{42} I am sure of that.", window=256)
    program = Tree(shape)
    with dspy.context(lm=lm):
        worst = program.explain().bound
        run = program(problem="p").run
    assert run.usage.calls <= worst.calls
    assert run.usage.total_tokens <= (worst.total_tokens or 0)
    assert run.usage.output_tokens <= (worst.output_tokens or 0)
    assert run.sequential_tokens <= (worst.sequential_tokens or 0)
    assert run.token_latency <= (worst.token_latency or 0)
    counters = lm.engine.runtime.run(lm.engine.runtime.backend.counters)
    assert (run.usage.input_tokens, run.usage.output_tokens) == (counters.prompt_tokens, counters.output_tokens)
    assert run.usage.cached_tokens == counters.cached_tokens
