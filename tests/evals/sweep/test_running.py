"""A sweep as a call: what is found before it spends anything, and who else may be at it."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from rich.console import Console

import reasonflow as rf
from reasonflow.errors import BudgetExceeded, InputError
from reasonflow.evals.dataset import Problem
from reasonflow.evals.manifest import claimed
from reasonflow.evals.sweep.points import Axis, Point, points_of
from reasonflow.evals.sweep.running import Sweeping, sweep


def setting(out: Path, asked: list[str]) -> Sweeping:
    def answer(prompt: str, seed: int, index: int) -> str:
        asked.append(prompt)
        return r"\boxed{4}"

    return Sweeping(
        lm=rf.scripted(answer),
        problems=[Problem(id="1", inputs={"problem": "2 + 2"}, answer="4")],
        samples=1,
        seed=0,
        out=out,
        benchmark="one",
        console=Console(quiet=True),
        line=2,
    )


def points(*limits: str) -> list[Point]:
    return points_of(
        [],
        [Axis("total", tuple((limit, limit and f"total={limit}") for limit in limits))],
        lambda arguments: rf.SelfConsistency("problem -> answer", **arguments),
        {"n": 1},
        lambda words: rf.Budget.parse(limit) if (limit := ",".join(words)) else None,
    )


def test_a_budget_below_any_answer_is_found_before_the_other_points_run(tmp_path: Path) -> None:
    asked: list[str] = []
    with pytest.raises(BudgetExceeded):
        anyio.run(sweep, setting(tmp_path, asked), points("", "2"), ["total"])
    assert asked == []
    found = anyio.run(sweep, setting(tmp_path, asked), points("", "10k"), ["total"])
    assert [point.accuracy.value for point in found.points] == [1, 1]
    assert len(asked) == 2 + 2


def test_two_processes_do_not_sweep_in_one_folder(tmp_path: Path) -> None:
    asked: list[str] = []
    with claimed(tmp_path), pytest.raises(InputError, match="another evaluation is writing"):
        anyio.run(sweep, setting(tmp_path, asked), points(""), ["total"])
    assert asked == []


def test_points_of_one_folder_are_refused() -> None:
    with pytest.raises(InputError, match="2 points of the grid"):
        points("1k", "1k")
