"""The benchmark of layouts on a scripted engine whose answers depend on the layout."""

from __future__ import annotations

from pathlib import Path

import dspy
import pytest

import reasonflow as rf
from reasonflow.evals.dataset import Problem
from reasonflow.evals.performance.layouts import LAYOUTS, Layouts, measure_layouts

PROBLEMS = [
    Problem(id=str(number), inputs={"problem": f"{number} + 1 = ? {f'word {number} ' * 80}"}, answer=str(number + 1))
    for number in range(6)
]


def answer(prompt: str, seed: int | None, index: int) -> str:
    """Right for every problem; where the problem stands in front of the instructions, for all but two of them."""
    before, _, _ = prompt.partition(" + 1")
    number = int(before.split()[-1])
    lost = number < 2 and "step by step" not in before.partition("## Problem")[0]
    return rf"So it is \boxed{{{0 if lost else number + 1}}}."


@pytest.fixture(scope="module")
def measured() -> Layouts:
    return measure_layouts(rf.PDR(widths=(2,)), PROBLEMS, rf.scripted(answer), samples=2, name="pdr")


def test_every_layout_is_evaluated_on_all_problems(measured: Layouts) -> None:
    assert all(len(measured.evaluations[layout].samples) == 12 for layout in LAYOUTS)
    told = measured.report().to_json()
    assert {f"{layout}_accuracy" for layout in LAYOUTS} <= set(told["figures"])
    assert told["failed"] == dict.fromkeys(LAYOUTS, 0)


def test_quality_is_compared_problem_by_problem(measured: Layouts) -> None:
    figures = measured.figures()
    assert figures["dspy_accuracy"] == 1
    assert figures["shared_accuracy"] == pytest.approx(4 / 6, abs=1e-3)
    assert figures["shared_minus_dspy"] == pytest.approx(-1 / 3, abs=1e-3)
    assert figures["shared_minus_dspy_low"] < figures["shared_minus_dspy"] < figures["shared_minus_dspy_high"]
    assert -1 <= figures["auto_minus_dspy"] <= 0


def test_the_shared_layout_computes_less(measured: Layouts) -> None:
    assert measured.computed("shared") < measured.computed("dspy")
    assert measured.cached("shared") > measured.cached("dspy")


def test_a_folder_keeps_what_was_measured_and_the_same_call_goes_on(tmp_path: Path) -> None:
    asked, told = [], list[str]()

    def counted(prompt: str, seed: int | None, index: int) -> str:
        asked.append(prompt)
        return answer(prompt, seed, index)

    def measure() -> Layouts:
        lm = rf.scripted(counted)
        return measure_layouts(rf.ChainOfThought(), PROBLEMS, lm, out=tmp_path, say=told.append)

    first = measure()
    count = len(asked)
    assert count == len(LAYOUTS) * len(PROBLEMS)
    assert measure().figures()["dspy_accuracy"] == first.figures()["dspy_accuracy"]
    assert len(asked) == count
    assert f"dspy: {len(PROBLEMS)} of {len(PROBLEMS)} right" in "\n".join(told)


@pytest.mark.engine
def test_on_the_real_engine(embedded_lm: dspy.LM) -> None:
    measured = measure_layouts(rf.SelfConsistency(n=2), PROBLEMS[:2], embedded_lm)
    assert all(measured.computed(layout) > 0 for layout in LAYOUTS)
