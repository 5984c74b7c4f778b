"""`reasonflow compare` as a command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.evals.compare.run import write_run


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "a", {"x": ["4"], "y": ["3"]})
    write_run(tmp_path / "b", {"x": ["4"], "y": ["4"]}, model="[bold]other[/bold]")
    write_run(tmp_path / "c", {"x": ["3"], "y": ["3"]})
    return tmp_path


def test_the_table_and_what_stands_below_it(
    runs: Path, reasonflow: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert reasonflow("compare", "a", "b", "c", "--changed") == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "b against a: 2 problems, intervals 95%" in out
    assert "+50.0 points" in out
    assert 'model: "m" → "[bold]other[/bold]"' in out
    assert "fixed y: 0 → 1, '3' → '4', right '4'" in out
    assert "c against a" in out
    assert "broken x: 1 → 0" in out


def test_json_is_one_object(runs: Path, reasonflow: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert reasonflow("compare", "a", "b", "c", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert [each["accuracy"]["difference"]["value"] for each in said["comparisons"]] == [0.5, -0.5]


@pytest.mark.parametrize(
    ("words", "says"),
    [(["a"], "nothing to compare"), (["a", "b", "a"], "named twice"), (["a", "nothing"], "no folder nothing")],
)
def test_wrong_input_ends_with_2(
    runs: Path, reasonflow: Callable[..., int], capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    assert reasonflow("compare", *words) == 2
    assert says in capsys.readouterr().err
