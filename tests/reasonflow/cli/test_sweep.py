"""`reasonflow sweep` as a command, over the scripted engine and once over the real one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dspy
import pytest

import reasonflow as rf
from reasonflow.cli import sweep as command

PROBLEMS = [{"id": str(n), "problem": f"{n} + {n}", "answer": str(2 * n)} for n in range(1, 5)]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The scripted engine in place of vLLM; the prompts that it was asked."""
    prompts: list[str] = []

    def answer(prompt: str, seed: int, index: int) -> str:
        prompts.append(prompt)
        return "It is \\boxed{4}." if (seed + index) % 3 else "It is \\boxed{2}."

    def open_lm(model: str, **options: Any) -> dspy.LM:
        return rf.scripted(answer, temperature=0.5)

    monkeypatch.setattr(command, "open_lm", open_lm)
    return prompts


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "doubles.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in PROBLEMS), encoding="utf-8")
    return path


def test_every_point_is_an_evaluation_and_the_line_is_one_more(
    asked: list[str], data: Path, reasonflow: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("sweep", "self_consistency", "--data", str(data), "--grid", "n=1,4", "--out", "here", "--json")
    assert reasonflow(*words) == 0
    said = json.loads(capsys.readouterr().out)
    assert [point["name"] for point in said["points"]] == ["n=1", "n=4"]
    assert said["points"][1]["total_tokens"] == pytest.approx(4 * said["points"][0]["total_tokens"], rel=0.05)
    # One sample of the line costs what the program's do: the dearest point of four samples is matched by about four.
    assert said["line"]["drawn"] in (4, 5)
    against = said["points"][1]["vote_at_equal_total"]
    assert against["samples"] == pytest.approx(4, abs=0.3)
    assert against["difference"]["low"] <= 0 <= against["difference"]["high"]
    assert said["line"]["points"][0]["drawn"] == said["line"]["drawn"]
    assert json.loads(Path("here/sweep.json").read_text())["points"] == said["points"]
    folder = json.loads(Path("here/points/n=4/manifest.json").read_text())
    assert (folder["settings"], folder["samples"]) == ({"n": 4}, 1)
    drawn = Path(f"here/line-{said['line']['drawn']}/samples.jsonl").read_text().splitlines()
    assert len(drawn) == 4 * said["line"]["drawn"]


def test_the_same_command_asks_nothing_again_and_more_values_only_what_is_new(
    asked: list[str], data: Path, reasonflow: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("sweep", "self_consistency", "--data", str(data), "--out", "here", "--line", "3", "--json")
    assert reasonflow(*words, "--grid", "n=1,2") == 0
    first, calls = json.loads(capsys.readouterr().out), len(asked)
    assert calls == 4 * (1 + 2 + 3)
    assert reasonflow(*words, "--grid", "n=1,2") == 0
    assert json.loads(capsys.readouterr().out) == first
    assert len(asked) == calls
    assert reasonflow(*words, "--grid", "n=1,2,4") == 0
    assert len(asked) == calls + 4 * 4
    assert json.loads(capsys.readouterr().out)["points"][2]["vote_at_equal_total"]["spends_less"] is True


def test_a_grid_of_settings_and_budgets_is_all_combinations(
    asked: list[str], data: Path, reasonflow: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("sweep", "pdr", "--data", str(data), "--line", "0", "--limit", "2", "--json")
    grid = ("--grid", "widths=2;3,2", "--budget-grid", "calls=6,none", "--budget", "total=90k")
    assert reasonflow(*words, *grid, "--set", "workspace_tokens=64") == 0
    said = json.loads(capsys.readouterr().out)
    assert [point["place"] for point in said["points"]] == [["2", "6"], ["2", "none"], ["3,2", "6"], ["3,2", "none"]]
    assert said["line"] is None
    folder = Path(said["out"])
    assert folder == Path("runs/sweep-pdr-doubles-embedded-0")
    manifest = json.loads((folder / "points" / "widths=3,2,calls=6" / "manifest.json").read_text())
    assert manifest["settings"] == {"workspace_tokens": 64, "widths": [3, 2]}
    assert manifest["budget"] == {"total": 90000, "calls": 6}
    assert [point["cut"] + point["squeezed"] for point in said["points"]] == [0, 0, 2, 0]
    tokens = [point["total_tokens"] for point in said["points"]]
    assert tokens[2] < tokens[3]  # six calls are less than 3 drafts, 2 refinements and what reads them


def test_the_tables_say_where_the_line_comes_from_and_a_picture_is_drawn(
    asked: list[str], data: Path, reasonflow: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("sweep", "self_consistency", "--data", str(data), "--grid", "n=1,4", "--line", "2")
    assert reasonflow(*words, "--picture", "curve.svg") == 0
    out = capsys.readouterr().out
    assert "minus vote at equal total tokens" in out
    assert "out of the same 2 samples of each problem" in out
    assert "n=2*" in out
    assert "the line has no more samples, and spends less" in out
    drawn = Path("curve.svg").read_text()
    assert "self-consistency, out of 2 samples" in drawn
    assert reasonflow(*words, "--picture", "curve.png") == 0
    assert Path("curve.png").read_bytes().startswith(b"\x89PNG")
    assert reasonflow(*words, "--picture", "again.svg") == 0
    assert Path("again.svg").read_text() == drawn


def test_what_a_budget_took_from_runs_is_said(
    asked: list[str], data: Path, reasonflow: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("sweep", "self_consistency", "--data", str(data), "--set", "n=4", "--line", "0")
    assert reasonflow(*words, "--budget-grid", "calls=2,none") == 0
    out = capsys.readouterr().out
    assert "calls=2: the budget left 4 of 4 runs fewer branches" in out
    assert "calls=none: " not in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "nothing to sweep over"),
        (["--grid", "m=1,2"], "unknown option of SelfConsistency 'm'"),
        (["--grid", "n"], "not of the form key=value"),
        (["--grid", "n=,"], "not of the form key=value"),
        (["--grid", "n=1,x"], "'x' is not a whole number"),
        (["--grid", "n=1,2,1"], "'1' twice"),
        (["--grid", "n=1,01"], "twice"),
        (["--grid", "n=1", "--grid", "n=2"], "gives 'n' twice"),
        (["--grid", "n=0,1"], "n=0 is out of range"),
        (["--grid", "n=1,2", "--set", "n=3"], "in --set and in --grid"),
        (["--budget-grid", "tokens=1k"], "unknown budget 'tokens'"),
        (["--budget-grid", "tokens=none"], "unknown budget 'tokens'"),
        (["--budget-grid", "total=many"], "'many' is no amount"),
        (["--budget-grid", "total=1k,2k", "--budget", "total=3k"], "gives 'total' twice"),
        (["--grid", "n=1,2", "--picture", "curve.gif"], "no picture has the ending '.gif'"),
        (["--grid", "n=1,2", "--budget", "total=1"], "budget"),
    ],
)
def test_wrong_input_ends_before_anything_is_asked(
    asked: list[str],
    data: Path,
    reasonflow: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    says: str,
) -> None:
    assert reasonflow("sweep", "self_consistency", "--data", str(data), *words) in (1, 2)
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err
    assert asked == []
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["pdr", "--grid", "widths=4,2"], "one list, or several?"),
        (["hybrid_search", "--grid", "max_turns=1,2"], "a sweep has no corpus"),
        (["pdrr", "--grid", "n=1"], "did you mean 'pdr'"),
    ],
)
def test_programs_that_cannot_be_swept_so_are_refused(
    asked: list[str],
    data: Path,
    reasonflow: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    words: Any,
    says: str,
) -> None:
    assert reasonflow("sweep", *words, "--data", str(data)) == 2
    assert says in capsys.readouterr().err
    assert asked == []


@pytest.mark.engine
def test_a_sweep_on_the_real_engine(
    embedded_lm: dspy.LM,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reasonflow: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(command, "open_lm", lambda model, **options: embedded_lm)
    words = ("sweep", "self_consistency", "--grid", "n=1,2", "--limit", "2", "--line", "2", "--out", str(tmp_path))
    assert reasonflow(*words, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["points"][0]["total_tokens"] < said["points"][1]["total_tokens"]
    assert said["line"]["points"][-1]["total_tokens"] == pytest.approx(said["points"][1]["total_tokens"], rel=0.5)
