"""The suite `threads-prompted`: of given problems or of its own, with names that cannot be mistaken."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean

import pytest

from reasonflow.errors import InputError
from reasonflow.evals.benchmarks import load
from reasonflow.evals.suites import embedded
from reasonflow.evals.suites.threads_prompted import SUITE
from tests.evals.suites.weaver import Play, Weaver, made

PLAYS = (
    Play(sequential=200, threads=(60, 90), tail=5),
    Play(sequential=100, right=False, tail=50),
)
FIGURES = {
    "prompted_sequential_accuracy", "prompted_threaded_accuracy", "prompted_threaded_minus_sequential_given",
    "prompted_sequential_token_latency", "prompted_threaded_token_latency", "prompted_token_latency_ratio",
    "prompted_token_latency_ratio_right", "prompted_format_rate", "prompted_activation_rate",
    "prompted_sequential_s", "prompted_threaded_s", "prompted_wall_ratio", "prompted_computed_over_ideal",
    "prompted_self_parallelism", "prompted_acceleration_ratio", "prompted_rescued_share",
    "prompted_blocks_per_trajectory", "prompted_threads_per_block",
}  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = [{"question": "Six and one?", "answer": "7"}, {"question": "Half of one?", "answer": "\\frac{1}{2}"}]
    path = tmp_path / "given.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_it_takes_any_problems_and_holds_them_to_no_goal(data: Path, tmp_path: Path) -> None:
    weaver = Weaver(load(data=data), PLAYS)
    found = made(SUITE, tmp_path / "out", weaver, 2, data=data)
    assert set(found.figures) == FIGURES
    assert found.goals == ()
    figures = found.figures
    assert figures["prompted_sequential_accuracy"] == 1 / 2
    assert figures["prompted_threaded_accuracy"] == 1  # \frac{1}{2} is compared as mathematics
    assert figures["prompted_token_latency_ratio"] == pytest.approx(
        fmean((204 / 127, 104 / 56))
    )  # its box has two more tokens
    assert figures["prompted_format_rate"] == 1
    written = json.loads((tmp_path / "out" / "results.json").read_text())
    assert written["data"] == str(data)


def test_without_a_file_it_is_of_the_default_benchmark(tmp_path: Path) -> None:
    weaver = Weaver(load("graphmath:mid", limit=2), PLAYS)
    found = made(SUITE, tmp_path, weaver, 2, parts=("accuracy",))
    assert found.figures["prompted_threaded_minus_sequential_mid"] == 1 / 2


def test_a_suite_of_its_own_problems_refuses_a_file(data: Path, tmp_path: Path) -> None:
    weaver = Weaver(load(data=data), PLAYS)
    with pytest.raises(InputError, match="--data has no meaning with the suite embedded"):
        made(embedded.SUITE, tmp_path / "out", weaver, 2, data=data)
    assert not (tmp_path / "out").exists()
