"""The suites of searching on a model that plays without a mistake, and on one that never searches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dspy
import pytest
from anyio import run as anyio_run
from rich.console import Console

import reasonflow as rf
from reasonflow.errors import InputError
from reasonflow.evals.suites import find, search, search_questions
from reasonflow.evals.suites.findings import Findings
from reasonflow.evals.suites.suite import Setting, Suite
from reasonflow.evals.tasks.problems import item, parse_source
from reasonflow.programs.query_blocks import BEGIN, END, RESULTS
from tests.evals.curriculum.search_player import Player

LIMIT = 6
ITEMS = [item(parse_source("graphmath:search,split=test"), index) for index in range(LIMIT)]


def made(suite: Suite, out: Path, model: Any, **options: Any) -> Findings:
    def opened(_: str) -> dspy.LM:
        return rf.scripted(model, window=32_768)

    setting = Setting(
        open=opened, model="m", limit=LIMIT, seed=0, out=out, console=Console(quiet=True), concurrency=4, **options
    )
    return anyio_run(suite.make, setting)


def player(prompt: str, seed: int | None, index: int) -> str:
    """Plays both arms, each by its own instruction."""
    return Player(ITEMS, sequential="write one query" in prompt)(prompt, seed, index)


@pytest.fixture
def few_passages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "PASSAGES", 2_000)


@pytest.mark.usefixtures("few_passages")
def test_parallel_takes_fewer_turns_at_equal_accuracy(tmp_path: Path) -> None:
    figures = made(search.SUITE, tmp_path / "a", player).figures
    assert figures["parallel_accuracy"] == figures["sequential_accuracy"] == 1.0
    assert figures["parallel_query_rate"] == 1.0
    parallel, sequential = figures["parallel_turns"], figures["sequential_turns"]
    assert parallel is not None
    assert sequential is not None
    assert parallel < 0.7 * sequential
    assert figures["turns_ratio"] == pytest.approx(parallel / sequential, abs=0.15)
    assert figures["parallel_calls"] == figures["sequential_calls"]
    assert figures["parallel_s"] is not None


@pytest.mark.usefixtures("few_passages")
def test_it_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    first = made(search.SUITE, tmp_path / "a", player, parts=("answers",))

    def never(prompt: str, seed: int | None, index: int) -> str:
        raise AssertionError("all of it is there")

    again = made(search.SUITE, tmp_path / "a", never, parts=("answers",))
    assert again.figures == first.figures


@pytest.mark.usefixtures("few_passages")
def test_a_run_that_never_searches_is_worth_nothing(tmp_path: Path) -> None:
    def knows(prompt: str, seed: int | None, index: int) -> str:
        found = next(each for each in ITEMS if each.text in prompt)
        return f"\\boxed{{{found.answer}}}"

    figures = made(search.SUITE, tmp_path / "a", knows, parts=("answers",)).figures
    assert figures["parallel_accuracy"] == 0.0
    assert figures["parallel_query_rate"] == 0.0
    assert figures["turns_ratio"] is None


QUESTIONS = [
    {"id": "1", "question": "Which river runs through Corm?", "answers": ["the river Tay"],
     "passages": [{"title": "Corm", "text": "The Tay runs through Corm.", "supporting": True}]},
    {"id": "2", "question": "Who built the mill?", "answers": ["Ada Brin", "Brin"],
     "passages": [{"title": "The mill", "text": "Ada Brin built the mill.", "supporting": True}]},
]  # fmt: skip


def reader(prompt: str, seed: int | None, index: int) -> str:
    if "Read the pages" in prompt:
        return "Tay" if "runs through Corm." in prompt else "Brin"
    if RESULTS not in prompt.rpartition("?")[2]:  # behind the examples
        return f"{BEGIN}\nCorm\n{END}" if "Corm" in prompt else f"{BEGIN}\nmill\n{END}"
    return r"\boxed{Tay}" if "Corm" in prompt else r"\boxed{Brin}"


def test_questions_are_worth_their_f1(tmp_path: Path) -> None:
    data = tmp_path / "questions.jsonl"
    data.write_text("".join(f"{json.dumps(row)}\n" for row in QUESTIONS))
    figures = made(search_questions.SUITE, tmp_path / "a", reader, data=data, parts=("answers",)).figures
    assert figures["parallel_f1"] == pytest.approx((2 / 3 + 1) / 2)
    assert figures["parallel_turns"] == 2.0


def test_questions_must_be_given(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no questions of its own"):
        made(search_questions.SUITE, tmp_path / "a", reader)


def test_both_are_known_by_name() -> None:
    assert find("search") is search.SUITE
    assert find("search-questions") is search_questions.SUITE
