"""The figures of an evaluation from given samples, and how they are shown."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from reasonflow.evals.progress import Progress
from reasonflow.evals.report import Report, summarise, table, write
from reasonflow.evals.runner import Evaluation
from reasonflow.evals.samples import Sample
from reasonflow.runtime.events import BranchEnded, BranchStarted, Cancelled


def sample(problem: str, index: int, correct: bool, **changes: Any) -> Sample:
    figures: dict[str, Any] = {
        "sequential_tokens": 100,
        "token_latency": 40,
        "total_tokens": 300,
        "input_tokens": 200,
        "output_tokens": 100,
        "cached_tokens": 150,
        "wall_s": 2.0,
        "ended_s": 4.0 + index,
    }
    return Sample(id=problem, sample=index, seed=0, answer="5", expected="5", correct=correct, **{**figures, **changes})


SAMPLES = (
    sample("a", 0, True),
    sample("a", 1, True, sequential_tokens=200, cached_tokens=50),
    sample("b", 0, False, reason="not parsed: ValueError", session=1, ended_s=1.5),
    sample(
        "b", 1, False, error="RunError: lost", complete=False, input_tokens=None, cached_tokens=None,
        sequential_tokens=None, token_latency=None, total_tokens=None, output_tokens=None, session=1, ended_s=2.5,
    ),
)  # fmt: skip


def report(samples: tuple[Sample, ...] = SAMPLES, **options: Any) -> Report:
    return summarise(
        Evaluation(samples=samples, resumed=2, planned=len(samples), **options),
        program="pdr",
        benchmark="sums",
        model="tiny",
        seed=3,
    )


def test_the_figures() -> None:
    found = report()
    assert (found.problems, found.samples, found.resumed) == (2, 2, 2)
    assert found.accuracy.value == 0.5
    assert found.sequential_tokens == pytest.approx(400 / 3)
    assert found.total_tokens == 300
    assert found.cached_share == pytest.approx(350 / 600)
    assert found.wall_s == 5.0 + 2.5  # two sessions
    assert found.tokens_per_s == pytest.approx(300 / 7.5)
    assert (found.errors, found.ungraded, found.repaired, found.incomplete) == (1, 1, 0, 1)


def test_figures_nobody_has_are_none_and_shown_as_a_dash() -> None:
    bare = tuple(Sample(id=str(n), sample=0, seed=0, answer="1", expected="1", correct=True) for n in range(3))
    found = report(bare)
    assert found.sequential_tokens is found.cached_share is found.tokens_per_s is None
    assert "–" in shown(found)


def shown(found: Report) -> str:
    out = io.StringIO()
    Console(file=out, width=100).print(table(found))
    return out.getvalue()


def test_the_table_has_what_is_promised() -> None:
    text = shown(report())
    for figure in (
        "accuracy", "50.0%", "95% interval", "2 problems × 2 samples", "sequential tokens", "133", "token latency",
        "total tokens", "cached share", "58.3%", "wall time", "7.5 s", "errors", "repairs", "ungraded",
    ):  # fmt: skip
        assert figure in text, figure


def test_a_partial_result_is_stated_plainly() -> None:
    found = summarise(
        Evaluation(
            samples=SAMPLES[:3], resumed=0, planned=8, stopped="stopped by the budget: 3 of 8 samples, 5 missing"
        ),
        program="pdr",
        benchmark="sums",
        model="tiny",
        seed=3,
    )
    assert (found.runs, found.planned, found.problems, found.samples) == (3, 8, 2, 2)
    text = shown(found)
    assert "3 of 8" in text
    assert "stopped by the budget: 3 of 8 samples, 5 missing" in text
    assert "partial" not in shown(report())


def test_runs_that_their_budget_cut_are_no_errors() -> None:
    cut = (
        sample("a", 0, True, complete=False, cut="out of time"),
        sample("b", 0, True, complete=False, cut="out of time"),
        sample("c", 0, False, complete=False, cut="no room", error="BudgetExceeded: no room"),
        sample("d", 0, False, complete=False, error="RunError: lost"),
    )
    found = report(cut)
    assert (found.cut, found.cut_answered, found.errors, found.incomplete) == (3, 2, 1, 4)
    assert "cut by the budget" in shown(found)
    assert "runs, 2 of them with an answer" in shown(found)


def test_scores_of_a_metric_are_averaged() -> None:
    found = report(
        (sample("a", 0, False, score=0.5), sample("b", 0, True, score=1.0), sample("c", 0, False, score=0.3))
    )
    assert found.accuracy.value == pytest.approx(0.6)
    assert found.accuracy.low < 0.6 < found.accuracy.high
    assert "mean score" in shown(found)
    assert "accuracy" in shown(report((sample("a", 0, True, score=1.0), sample("b", 0, False, score=0.0))))


def test_json_is_flat_and_complete(tmp_path: Path) -> None:
    path = write(report(), tmp_path)
    figures = json.loads(path.read_text())
    assert path.name == "results.json"
    assert figures["accuracy"] == 0.5
    assert figures["accuracy_low"] <= 0.5 <= figures["accuracy_high"]
    assert not any(isinstance(value, (dict, list)) for value in figures.values())
    assert {"sequential_tokens", "token_latency", "total_tokens", "cached_share", "wall_s", "errors"} < set(figures)


def test_progress_off_a_terminal_is_sparse() -> None:
    out = io.StringIO()
    with Progress(Console(file=out, width=100), total=200) as progress:
        progress.kept(SAMPLES[0])
        for n in range(199):
            progress.ended(sample(str(n), 0, n % 2 == 0))
    lines = out.getvalue().splitlines()
    assert 10 <= len(lines) <= 12
    assert lines[-1].startswith("200/200 accuracy 50.5%")
    assert progress.done == 200


def test_progress_tells_what_the_branches_do() -> None:
    progress = Progress(Console(file=io.StringIO(), width=100), total=2)
    assert progress.describe() == "starting the engine"
    watch, other = progress.follow(("a", 0)), progress.follow(("a", 1))
    place: dict[str, Any] = {"at_s": 0.1, "node": "draft"}
    for _ in range(3):
        watch(BranchStarted(**place, input_tokens=5))
    other(BranchStarted(**place, input_tokens=5))
    assert "4 branches running" in progress.describe()
    watch(BranchEnded(**place, text="x", input_tokens=5, cached_tokens=0, output_tokens=1_000_000))
    watch(Cancelled(**place, output_tokens=3, tokens_saved=2_000))
    other(BranchEnded(**place, text="x", input_tokens=5, cached_tokens=0, output_tokens=9, replayed=True))
    said = progress.describe()
    assert "2 branches running" in said
    assert "1 cancelled, at most 2,000 tokens saved" in said
    assert "1 calls of an earlier session" in said
    assert not said.startswith("0 tokens/s")
    progress.ended(sample("a", 0, True))  # with one branch lost in a failure, of which nobody was told
    assert progress.describe().startswith("accuracy 100.0%, 1 branch running")


def test_progress_on_a_terminal_is_one_line_that_goes_away() -> None:
    out = io.StringIO()
    with Progress(Console(file=out, width=100, force_terminal=True), total=2) as progress:
        progress.ended(SAMPLES[0])
    assert "accuracy 100.0%" in out.getvalue()


def test_runs_that_their_budget_squeezed_are_told_beside_those_it_cut() -> None:
    found = report(
        (
            sample("a", 0, True, squeezed=True),
            sample("b", 0, True, squeezed=True, complete=False, cut="no room"),
            sample("c", 0, True),
        )
    )
    assert (found.squeezed, found.cut) == (1, 1)
    assert "run left with fewer branches" in shown(found)
    assert found.to_json()["squeezed"] == 1
    assert "squeezed" not in shown(report())
