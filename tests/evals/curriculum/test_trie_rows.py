"""Rows for trie-based fine-tuning: threaded lessons whole, all others as the curriculum teaches them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from reasonflow.errors import InputError
from reasonflow.evals.curriculum.embedded import EMBEDDED
from reasonflow.evals.curriculum.trie_rows import cli, main, rows
from reasonflow.programs.trajectories import parse


def test_threaded_rows_are_well_formed_and_have_threads() -> None:
    for row in rows(20, threaded=1.0):
        trajectory = parse(row["text"])
        assert trajectory.well_formed
        assert 3 <= len(trajectory.blocks[0].threads) <= 6
        assert row["messages"][-1]["role"] == "user"


def test_other_rows_learn_what_the_curriculum_does() -> None:
    examples = EMBEDDED.examples("refine", 0)
    for row in rows(20, threaded=0.0):
        example = next(examples)
        tokens, learned = list(example.tokens), example.learned
        assert row["prompt"] == tokens[: learned[0][0]]
        assert [len(unit["context"]) for unit in row["units"]] == [start for start, _ in learned]
        for unit, (start, end) in zip(row["units"], learned, strict=True):
            assert unit["context"] + unit["completion"] == tokens[:end]
            assert len(unit["completion"]) == end - start


def test_equal_seeds_give_equal_rows_and_others_do_not() -> None:
    assert list(rows(6, seed=3)) == list(rows(6, seed=3))
    assert list(rows(6, seed=3)) != list(rows(6, seed=4))


def test_the_share_is_kept() -> None:
    kinds = ["text" in row for row in rows(200, threaded=0.25)]
    assert 25 <= sum(kinds) <= 75


def test_a_share_is_in_searching() -> None:
    made = list(rows(60, threaded=0.3, search=0.4))
    searching = sum("text" not in row and "search" in EMBEDDED.decode(row["prompt"]) for row in made)
    assert 14 <= searching <= 34
    assert 8 <= sum("text" in row for row in made) <= 28
    with pytest.raises(InputError, match="more than all rows"):
        next(rows(1, threaded=0.7, search=0.4))


def test_the_command_writes_a_file_a_process(tmp_path: Path) -> None:
    import typer

    app: Any = typer.Typer()
    app.command()(main)
    words = ["--out", str(tmp_path / "rows"), "--count", "5", "--workers", "2", "--threaded", "0.5", "--search", "0.5"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    files = sorted((tmp_path / "rows").iterdir())
    assert [file.name for file in files] == ["rows-0.jsonl", "rows-1.jsonl"]
    assert sum(len(file.read_text().splitlines()) for file in files) == 5


def test_an_unknown_stage_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["trie_rows", "--out", "none", "--stage", "other"])
    with pytest.raises(SystemExit) as caught:
        cli()
    assert caught.value.code == 2
    assert "no stage 'other'" in capsys.readouterr().err
