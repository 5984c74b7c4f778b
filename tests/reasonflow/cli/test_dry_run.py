"""`reasonflow eval --dry-run` as a command, over the scripted engine."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

import reasonflow as rf
from reasonflow.cli import eval as command


def answer(prompt: str, seed: int | None, index: int) -> str:
    return "word " * random.Random(f"{prompt} {seed}").randrange(3, 60) + "\\boxed{4}"


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "open_lm", lambda model, **options: rf.scripted(answer, temperature=0.5, window=1000))
    path = tmp_path / "doubles.jsonl"
    rows = ({"id": str(n), "problem": f"{n} + {n} = ?", "answer": str(2 * n)} for n in range(10))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_command_prints_and_writes_nothing(
    data: Path, reasonflow: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("eval", "self_consistency", "--set", "n=4", "--data", str(data), "--limit", "4", "--dry-run")
    assert reasonflow(*words) == 0
    out = capsys.readouterr().out
    assert out.startswith("program   self_consistency, n=4\nproblems  4 of doubles\n")
    assert "no measurement: pass history=, or let --dry-run take a pilot" in out
    assert [path.name for path in data.parent.iterdir()] == [data.name]
    assert reasonflow(*words, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["calls"]["high"] == 16
    assert found["out"] is None
    assert "each" not in found


def test_the_command_takes_a_pilot_and_reports_the_error_afterwards(
    data: Path, reasonflow: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("eval", "self_consistency", "--set", "n=4", "--data", str(data), "--out", "here", "--json")
    assert reasonflow(*words, "--dry-run", "--pilot", "4") == 0
    printed = capsys.readouterr()
    predicted = json.loads(printed.out)
    assert "pilot: 4 of 10 problems → here" in printed.err
    assert predicted["done"] == 4
    assert predicted["out"] == "here"
    assert not Path("here/results.json").exists()
    assert reasonflow(*words) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["resumed"] == 4
    assert result["estimate"]["output_tokens"]["predicted"] == predicted["output_tokens"]["likely"]
    assert json.loads(Path("here/results.json").read_text())["estimate"] == result["estimate"]


def test_a_pilot_needs_a_dry_run(
    data: Path, reasonflow: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert reasonflow("eval", "pdr", "--data", str(data), "--pilot", "2") == 2
    assert "--pilot stands alone" in capsys.readouterr().err
