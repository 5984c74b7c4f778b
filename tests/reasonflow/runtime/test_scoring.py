"""Scoring from inside of a run: recorded, paid for, found again, and bounded by what was declared."""

from __future__ import annotations

from typing import Any

import dspy
import pytest

import reasonflow as rf
from reasonflow.backends.scripted import ScriptedBackend
from reasonflow.errors import BackendError, BudgetExceeded, RunError
from reasonflow.runtime.ambient import surrounded
from reasonflow.runtime.scoring import score
from tests.reasonflow.runtime.test_replay import Memory


class Scores(rf.Program):
    """Scores so many texts of five tokens, in turn."""

    def __init__(self, times: int = 1, cap: int | None = None) -> None:
        self.solve = rf.Generate("problem -> answer")
        self.times = times
        self.cap = times if cap is None else cap

    def plan(self, problem: Any) -> Any:
        return {"found": rf.call(self.scored, self.solve(problem=problem), cap=self.cap)}

    async def scored(self, draft: Any) -> list[tuple[float, ...]]:
        return [await score(dspy.settings.lm, "solve", (1, 2, 3), (4, 5)) for _ in range(self.times)]


def run(program: rf.Program, **ambient: Any) -> Any:
    with dspy.context(lm=rf.scripted(r"\boxed{4}")), surrounded(**ambient):
        return program(problem="How many?")


def test_a_score_is_a_call_that_reads_and_writes_nothing() -> None:
    out = run(Scores(2))
    first, *scored = out.run.spans
    assert [len(numbers) for numbers in out.found] == [2, 2]
    assert all(number < 0 for numbers in out.found for number in numbers)
    assert [(span.inner, span.input_tokens, span.output_tokens) for span in scored] == [("score", 5, 0)] * 2
    assert out.run.usage.calls == out.run.usage.requests == 3
    assert out.run.sequential_tokens == first.input_tokens + first.output_tokens + 10


def test_it_counts_among_the_calls_that_the_function_has_declared() -> None:
    with pytest.raises(RunError, match="more model calls than it may: 2, not 1"):
        run(Scores(2, cap=1))


def test_a_budget_pays_for_it_or_it_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    with rf.limit(calls=3):
        assert len(run(Scores(2)).found) == 2
    asked = []
    real = ScriptedBackend.score

    async def counting(self: ScriptedBackend, *texts: Any) -> Any:
        asked.append(texts)
        return await real(self, *texts)

    monkeypatch.setattr(ScriptedBackend, "score", counting)
    with rf.limit(calls=2), pytest.raises(BudgetExceeded):
        run(Scores(2))
    assert len(asked) == 1


def test_a_score_that_fails_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_: Any) -> Any:
        raise BackendError("out of memory")

    monkeypatch.setattr(ScriptedBackend, "score", fails)
    with pytest.raises(BackendError, match="out of memory") as caught:
        run(Scores())
    assert [span.inner for span in caught.value.run.spans] == [""]  # type: ignore[attr-defined]


def test_what_was_scored_is_found_again() -> None:
    memory = Memory()
    first = run(Scores(2), journal=memory)
    again = run(Scores(2), journal=memory)
    assert again.found == first.found
    assert [span.replayed for span in again.run.spans] == [True] * 3
    assert again.run.usage.total_tokens == first.run.usage.total_tokens


def test_outside_of_a_run_it_asks_the_engine_alone() -> None:
    import asyncio

    lm = rf.scripted(r"\boxed{4}")
    assert len(asyncio.run(score(lm, "solve", (1, 2), (3,)))) == 1
