"""`reasonflow compile` as a command over the scripted engine, and its artifact in `reasonflow eval`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dspy
import pytest

import reasonflow as rf
from reasonflow.cli import compile as command
from reasonflow.cli import eval as evaluation
from tests.optimizers.gated_votes import Guarded
from tests.optimizers.scripted_votes import right_by

VOTE = ("compile", "self_consistency", "--limit", "8", "--budget", "calls=200")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    def open_lm(model: str, **options: Any) -> dspy.LM:
        return rf.scripted(right_by(0.5), max_tokens=32)

    monkeypatch.setattr(command, "open_lm", open_lm)
    monkeypatch.setattr(evaluation, "open_lm", open_lm)
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "numbers.jsonl"
    rows = [{"id": str(n), "problem": f"What is {n}?", "answer": str(n)} for n in range(100, 140)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_the_front_is_printed_and_the_artifact_runs(
    data: Path, reasonflow: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("compile", "self_consistency", "--data", str(data), "--budget", "calls=1500", "--out", "runs/it")
    assert reasonflow(*words) == 0
    out, err = capsys.readouterr()
    assert "accuracy" in out.splitlines()[0]
    assert "chosen by accuracy: n=" in out
    assert "self_consistency on 31 problems of numbers with embedded" in err
    assert "trial 0: n=8" in err
    assert reasonflow(*words, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["artifact"] == "runs/it/self_consistency.json"
    assert report["spent"]["calls"] <= 1500
    assert {trial["state"] for trial in report["trials"]} <= {"finished", "dropped"}

    assert reasonflow("eval", report["artifact"], "--data", str(data), "--limit", "5", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    width = next(p["settings"]["n"] for p in report["front"]["points"] if p["trial"] == report["chosen"])
    assert found["problems"] == 5
    assert found["total_tokens"] > 5 * width


def test_the_result_is_tested_on_other_problems(
    data: Path, reasonflow: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"id": str(n), "problem": f"What is {n}?", "answer": str(n)} for n in range(300, 330)]
    Path("others.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    words = ("compile", "self_consistency", "--data", str(data), "--budget", "calls=700", "--limit", "12")
    tested = (*words, "--test", "others.jsonl", "--out", "runs/it")
    assert reasonflow(*tested) == 0
    out, err = capsys.readouterr()
    assert "the compiled program on 30 problems that its compile has not seen" in out
    assert "compiled against before: " in out
    assert "compiled against the vote at equal total tokens" in out
    assert "nothing of a model" in out
    assert "test on 30 problems of others.jsonl" in err
    assert reasonflow(*tested, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["transfer"]["problems"] == 30
    kept = json.loads(Path("runs/it/self_consistency.json").read_text())["reasonflow"]["report"]
    assert kept["transfer"] == report["transfer"]
    assert kept["data"]["test"]["examples"] == 30

    assert reasonflow(*words, "--test", str(data), "--out", "runs/other") == 2
    assert "of testset stands in trainset" in capsys.readouterr().err
    assert not Path("runs/other").exists()


def test_gates_of_an_artifact_are_calibrated_and_it_runs(
    data: Path, reasonflow: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    Guarded(threshold=0.5).save("guarded.json")
    named = ("--allow", f"{Guarded.__module__}:Guarded")
    words = ("guarded.json", "--data", str(data), *named)
    options = ("--budget", "calls=900", "--optimize", "topology,gates", "--alpha", "0.3", "--delta", "0.3")
    assert reasonflow("compile", *words, *options, "--out", "runs/it") == 0
    out, _ = capsys.readouterr()
    assert "gate gate: " in out
    assert re.search(r"spent: \d+ calls \(topology \d+, gates \d+\)", out)
    assert reasonflow("eval", "runs/it/guarded.json", "--data", str(data), "--limit", "5", "--json") == 2
    assert "not allowed" in capsys.readouterr().err
    assert reasonflow("eval", "runs/it/guarded.json", "--data", str(data), *named, "--limit", "5", "--json") == 0
    assert json.loads(capsys.readouterr().out)["problems"] == 5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("compile", "pdr", "--budget", "calls=9k", "--optimize", "gates"), "no gates to calibrate"),
        (("compile", "pdr", "--budget", "calls=9k", "--test-limit", "5"), "--test-limit has no use without --test"),
        (("compile", "chain_of_thought", "--budget", "calls=500"), "nothing to tune"),
        (("compile", "pdr", "--budget", "calls=10"), "one evaluation takes up to"),
        (("compile", "pdr", "--budget", "calls=9k", "--optimize", "prompt"), "prompts"),
        (("compile", "pdr", "--budget", "calls=9k", "--objective", "fun"), "fun"),
        (("eval", "none.json"), "there is no artifact"),
        ((*VOTE, "--search", "width"), "width"),
        ((*VOTE, "--search", "n=0..4"), "out of range"),
        ((*VOTE, "--search", "n=1,2", "--set", "n=2"), "n is in --set and in --search"),
        ((*VOTE, "--search", "n=1,1"), "twice"),
        ((*VOTE, "--search", "temperature=hot"), "temperature"),
    ],
)
def test_wrong_commands_are_said_to_be(
    words: tuple[str, ...],
    said: str,
    data: Path,
    reasonflow: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert reasonflow(*words, "--data", str(data)) == 2
    assert said in capsys.readouterr().err


def test_an_artifact_refuses_what_it_was_not_made_for(
    data: Path, reasonflow: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    rf.SelfConsistency("question -> answer", n=2).save("asks.json")
    assert reasonflow("eval", "asks.json", "--data", str(data)) == 2
    assert "asks.json does not take these problems" in capsys.readouterr().err
    assert reasonflow("eval", "asks.json", "--data", str(data), "--set", "n=2") == 2
    assert "--set has no use with an artifact" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("graphmath", "graphmath:mid,split=train"),
        ("graphmath:noise", "graphmath:noise,split=train"),
        ("graphmath:noise,split=test", "graphmath:noise,split=test"),
        (None, "graphmath:mid,split=train"),
    ],
)
def test_problems_come_from_the_train_split(name: str | None, found: str) -> None:
    problems, called = command._problems(name, None, 2)
    assert called == found
    assert len(problems) == 2


def test_what_is_named_is_searched_and_nothing_else(
    data: Path, reasonflow: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("compile", "self_consistency", "--data", str(data), "--limit", "8", "--budget", "calls=200", "--json")
    assert reasonflow(*words, "--out", "a", "--search", "n=1,2", "--search", "temperature=0.2..0.8") == 0
    space = json.loads(capsys.readouterr().out)["space"]
    assert space == {"n": [1, 2], "temperature": {"low": 0.2, "high": 0.8, "log": False}}
    assert reasonflow(*words, "--out", "b", "--search", "temperature", "--set", "n=2") == 0
    report = json.loads(capsys.readouterr().out)
    assert list(report["space"]) == ["temperature"]
    assert report["trials"][0]["settings"] == {"temperature": None}


def test_prompts_are_tuned_and_the_artifact_runs_with_them(
    data: Path, reasonflow: Callable[..., int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def pupil(prompt: str, seed: int, index: int) -> str:
        number = re.findall(r"What is (\d+)", prompt)[-1]
        return rf"\boxed{{{number if 'Be exact.' in prompt or int(number) % 2 else 0}}}"

    def open_lm(model: str, **options: Any) -> dspy.LM:
        opened.append(model)
        return rf.scripted(json.dumps({"new_instruction": "Be exact."}) if model == "teacher" else pupil, model=model)

    for each in (command, evaluation):
        monkeypatch.setattr(each, "open_lm", open_lm)
    words = ("compile", "self_consistency", "--set", "n=2", "--data", str(data), "--budget", "calls=500", "--seed", "1")
    tuning = ("--optimize", "prompts", "--prompts-by", "gepa", "--reflection", "teacher", "--out", "runs/it")
    assert reasonflow(*words, *tuning) == 0
    out, err = capsys.readouterr()
    assert opened == ["embedded", "teacher"]
    assert "teacher reflects" in err
    assert "the program as it is" in out
    assert "* 100.0" in out
    assert "Be exact." in out
    assert reasonflow(*words, *tuning, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["artifact"] == "runs/it/self_consistency.json"
    assert reasonflow("eval", report["artifact"], "--data", str(data), "--limit", "6", "--json") == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] == 1.0
