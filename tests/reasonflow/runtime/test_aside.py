"""Model calls that nothing waits for."""

from __future__ import annotations

import asyncio
from typing import Any

import dspy
import pytest

import reasonflow as rf
from reasonflow.errors import RunError
from reasonflow.runtime.ambient import ambient, surrounded
from reasonflow.runtime.aside import Aside
from reasonflow.runtime.inside import Inside

SAID = "[[ ## answer ## ]]\n{}\n\n[[ ## completed ## ]]"


def reply(prompt: str, seed: int | None, index: int) -> str:
    """Its own seed; longer where a call is beside another."""
    return SAID.format(f"{seed} " * (20 if "beside" in prompt else 1))


class Beside(rf.Program):
    """A function that asks, and asks something beside that first: `extra` times, in one aside or each in its own."""

    def __init__(self, extra: int = 1, *, together: bool = False, cap: int = 4) -> None:
        self.extra, self.together, self.cap = extra, together, cap
        self.written: list[int] = []
        self.errors: list[Exception] = []

    def plan(self, problem: Any) -> Any:
        return {"answer": rf.call(self.ask, problem, cap=self.cap)}

    def ask(self, problem: str) -> str:
        found, asides = ambient().inside, []
        assert isinstance(found, Inside)
        for number in range(self.extra):
            if not asides or not self.together:
                asides.append(Aside(found, (number, 0)))
            with surrounded(inside=asides[-1]), dspy.context(trace=None):
                try:
                    dspy.Predict("question -> answer")(question="beside")
                except Exception as error:
                    self.errors.append(error)
        self.written += [aside.written for aside in asides]
        return str(dspy.Predict("question -> answer")(question=problem).answer)


def run(program: Beside) -> Any:
    lm = rf.scripted(reply)
    try:
        with dspy.context(lm=lm):
            out = program(problem="p")
            counters = asyncio.run(lm.engine.runtime.backend.counters())
    finally:
        lm.engine.close()
    assert counters.output_tokens == out.run.usage.output_tokens
    return out


def test_it_is_the_runs_and_on_no_path() -> None:
    program = Beside(extra=2)
    out = run(program)
    spans = out.run.spans
    assert [(span.inner, span.indices) for span in spans] == [("aside", (0, 0)), ("aside", (1, 0)), ("", (0,))]
    assert program.written == [span.output_tokens for span in spans[:2]]
    assert program.written[0] > spans[2].output_tokens
    assert out.run.path == (2,)
    assert out.run.sequential_tokens == spans[2].input_tokens + spans[2].output_tokens
    assert out.run.usage.calls == 3


def test_the_functions_own_calls_keep_their_places() -> None:
    alone, beside = run(Beside(extra=0)), run(Beside(extra=2))
    assert alone.answer == beside.answer, "seeds follow from places"


def test_a_second_call_is_refused_before_it_is_made() -> None:
    program = Beside(extra=2, together=True)
    out = run(program)
    assert out.run.usage.calls == 2
    (error,) = program.errors
    assert "asks a model again" in f"{error} {error.__cause__}"


def test_it_counts_among_the_calls_that_were_declared() -> None:
    assert run(Beside(extra=2, cap=3)).run.usage.calls == 3
    with pytest.raises(RunError, match="3, not 2"):
        run(Beside(extra=2, cap=2))


@pytest.mark.parametrize(("calls", "made"), [(4, 2), (3, 1)])
def test_it_takes_no_more_than_its_share_of_a_budget_and_waits_for_nothing(calls: int, made: int) -> None:
    program = Beside()
    program.budget = rf.Budget(calls=calls)
    out = run(program)
    assert (out.run.complete, out.run.usage.calls) == (True, made)
    assert len(program.errors) == 2 - made
