"""Planned against achieved cached tokens, as a run tells it."""

from __future__ import annotations

import json
from typing import Any

import dspy
import pytest
from dspy.utils.dummies import DummyLM

import reasonflow as rf
from reasonflow.plan.explain import Measured
from reasonflow.runtime.cache_seen import CacheSeen, compare, shortfall

PROBLEM = "How many boxes? " * 60


class Twice(rf.Program):
    def __init__(self) -> None:
        self.first = rf.Generate("problem -> answer")
        self.second = rf.Generate("problem -> answer")

    def plan(self, problem: Any) -> Any:
        drafts = self.first(problem=problem, n=4)
        later = rf.call(self.between, drafts)
        return self.second(problem=rf.call(lambda problem, _: problem, problem, later))

    @staticmethod
    def between(drafts: Any) -> int:
        return len(drafts)


def test_a_run_whose_cache_keeps_what_was_planned_has_nothing_to_tell() -> None:
    with dspy.context(lm=rf.scripted("\\boxed{7}", latency=0.001)):
        run = Twice()(problem=PROBLEM).run
    text = str(run.explain())
    shared = sum(span.cached_tokens or 0 for span in run.spans[:4])
    assert f"{shared} cached, {shared} planned" in " ".join(text.split())
    assert "‼" not in text
    data = json.loads(json.dumps(run.to_json()))
    assert data["spans"][1]["planned_tokens"] == data["spans"][1]["cached_tokens"] > 0
    assert data["cache"]["block_tokens"] == 16
    assert 0 < data["cache"]["live_tokens"] <= data["cache"]["kv_tokens"]
    figures = {step["name"]: step["measured"] for step in run.explain().to_json()["steps"] if "measured" in step}
    assert figures["second"]["planned_tokens"] == figures["second"]["found_tokens"] > 0


def test_a_step_that_found_less_than_planned_is_marked_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = rf.scripted("\\boxed{7}", latency=0.001)

    def forget(drafts: Any) -> int:
        lm.engine.runtime.backend._cache._blocks.clear()
        return len(drafts)

    monkeypatch.setattr(Twice, "between", staticmethod(forget))
    with dspy.context(lm=lm):
        run = Twice()(problem=PROBLEM).run
    text = str(run.explain())
    assert text.count("‼") == 1
    assert "planned tokens were not in the prefix cache: forgotten by the engine" in " ".join(text.split())
    assert "were not in the prefix cache" in run._repr_html_()
    steps = {step["name"]: step for step in run.explain().to_json()["steps"]}
    assert steps["first"]["measured"]["shortfall"] == ""
    assert "not in the prefix cache" in steps["second"]["measured"]["shortfall"]


def test_an_engine_that_does_not_report_says_so() -> None:
    with dspy.context(lm=DummyLM([{"answer": "7"}] * 9)):
        run = rf.ChainOfThought()(problem="p").run
    assert [span.planned_tokens for span in run.spans] == [None]
    text = str(run.explain())
    assert "planned" not in text
    assert "did not report cached tokens of 1 sample:" in text


def test_the_reason_names_footprints_where_they_filled_the_cache() -> None:
    row = Measured(foreseen=4, planned_tokens=1000, found_tokens=200)
    assert "evicted, live footprints came to 950 of the 1,000 tokens" in shortfall(row, CacheSeen(16, 1000, 950))
    assert "came to only 300 of the 1,000 tokens" in shortfall(row, CacheSeen(16, 1000, 300))
    assert "nobody knows what the engine's KV cache holds" in shortfall(row, CacheSeen(16, None, 300))


def test_a_block_a_sample_is_no_shortfall_and_more_found_than_planned_none() -> None:
    seen = CacheSeen(16, 1000, 300)
    assert shortfall(Measured(foreseen=4, planned_tokens=100, found_tokens=36), seen) == ""
    assert shortfall(Measured(foreseen=4, planned_tokens=101, found_tokens=36), seen) != ""
    assert shortfall(Measured(foreseen=4, planned_tokens=36, found_tokens=100), seen) == ""


def test_only_what_was_computed_is_compared() -> None:
    row = Measured()
    for planned, cached, computed in ((16, 0, 0), (16, None, 20), (None, 16, 20)):
        compare(row, planned, cached, computed)
    assert row == Measured()
    compare(row, 16, 0, 20)
    assert (row.foreseen, row.planned_tokens, row.found_tokens) == (1, 16, 0)
