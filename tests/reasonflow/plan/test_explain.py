"""Explanations: text, HTML and JSON, before and after a run."""

from __future__ import annotations

import json
from typing import Any

import dspy

import reasonflow as rf
from reasonflow.compiler.passes import lower
from reasonflow.language.program import trace
from reasonflow.plan.serialise import digest


def test_a_plan_is_explained_before_anything_runs() -> None:
    text = str(rf.PDR(widths=(4, 2)).explain())
    assert "draft × 4" in text
    assert "4 samples of one prompt: the whole prompt shared" in text
    assert "shares system · Problem ‹problem› with draft, where long enough" in text
    assert "no window known" in text


def test_an_explanation_is_json_and_html() -> None:
    explanation = rf.SelfConsistency(n=4).explain()
    data = json.loads(json.dumps(explanation.to_json()))
    assert data["bound"]["calls"] == 4
    assert [step["name"] for step in data["steps"]] == ["solve", "vote", "answer"]
    assert {node["kind"] for node in data["plan"]["nodes"]} >= {"input", "generate", "vote", "answer"}
    page = explanation._repr_html_()
    assert "solve × 4" in page
    assert "<script" not in page


def test_a_run_explains_what_happened_where() -> None:
    class Loops(rf.Program):
        def __init__(self) -> None:
            self.solve = rf.Generate("problem -> answer")

        def plan(self, problem: Any) -> Any:
            first = self.solve(problem=problem)
            return rf.loop(lambda s: self.solve(problem=s.text), first, max_rounds=3)

    with dspy.context(lm=rf.scripted("the last number is 5")):
        out = Loops()(problem="<b>p</b>")
    assert "loop/solve\n" in str(out.run.explain())
    assert "→ 3 samples" in str(out.run.explain())
    assert "sequential tokens" in str(out.run.explain())
    steps = {step["name"]: step for step in out.run.explain().to_json()["steps"]}
    assert steps["loop/solve"]["measured"]["samples"] == 3
    page = out.run._repr_html_()
    assert "loop/<wbr>solve" in page
    assert ">3</td>" in page
    assert "repaired" in page
    assert "failed" not in page  # nothing did


def test_what_a_terminal_shows_is_the_text() -> None:
    explanation = rf.SelfConsistency(n=4).explain()
    assert repr(explanation) == str(explanation)


def test_digests_depend_on_content_alone() -> None:
    def of(program: rf.Program) -> str:
        return digest(lower(trace(program).plan))

    assert of(rf.PDR(widths=(4, 2))) == of(rf.PDR(widths=(4, 2)))
    assert of(rf.PDR(widths=(4, 2))) != of(rf.PDR(widths=(4, 3)))
    assert of(rf.ChainOfThought("a -> b")) != of(rf.ChainOfThought("a -> c"))
    assert of(rf.ChainOfThought(config={"temperature": 0.1})) != of(rf.ChainOfThought())
