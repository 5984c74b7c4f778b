"""`reasonflow eval --suite` as a command, over the scripted engine."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import reasonflow as rf
from reasonflow.backends import facts
from reasonflow.cli import suite as command
from reasonflow.cli.main import main
from reasonflow.evals.benchmarks import load
from tests.evals.suites.solver import solver
from tests.evals.suites.weaver import Play, Weaver


@pytest.fixture
def evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs `reasonflow eval` with these words; gives its exit code."""
    answers = solver(2, 0.05)

    def run(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["reasonflow", "eval", *words])
        try:
            main()
        except SystemExit as end:
            return int(end.code or 0)
        return 0

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "220")
    monkeypatch.setattr(command, "open_lm", lambda model, **_: rf.scripted(answers, model=model, window=16_384))
    return run


def test_json_is_one_object_and_the_table_comes_from_the_same_folder(
    evaluated: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--suite", "embedded", "--limit", "2", "--seed", "3", "--concurrency", "4")
    assert evaluated(*words, "--json") == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert (found["suite"], found["limit"], found["seed"]) == ("embedded", 2, 3)
    assert found["out"] == "runs/suite-embedded-2-3"
    assert 0 <= found["figures"]["pdr_noise"] <= 1
    assert "noise/pdr: PDR on 2 problems" in err
    assert json.loads(Path(found["out"], "results.json").read_text()) == found
    assert evaluated(*words) == 0
    table = capsys.readouterr().out
    assert "suite embedded, embedded, 2 problems a task, seed 3" in table
    assert f"{found['figures']['sequential_accuracy']:.3f}" in table


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--suite", "embeded"], "did you mean 'embedded'"),
        (["pdr", "--suite", "embedded"], "a program has no meaning with --suite"),
        (["--suite", "embedded", "--benchmark", "gsm8k"], "--benchmark has no meaning with --suite"),
        (["--suite", "embedded", "--samples", "1"], "--samples has no meaning"),
        (["--suite", "embedded", "--set", "n=2"], "--set has no meaning"),
        (["--suite", "embedded", "--dry-run"], "--dry-run has no meaning"),
        (["--suite", "embedded", "--temperature", "0"], "--temperature has no meaning"),
        (["--suite", "embedded", "--engine", "vllm"], "--engine has no meaning"),
        (["--suite", "embedded", "--data", "some.jsonl"], "--data has no meaning with the suite embedded"),
        (["--suite", "threads", "--data", "some.jsonl"], "take a suite that measures any problems: threads-prompted"),
        (["--suite", "threads-prompted", "--data", "none.jsonl"], "there is no file none.jsonl"),
        (["--suite", "embedded", "--part", "bredth"], "did you mean 'breadth'"),
        (["--suite", "embedded", "--small", "a"], "--small has no meaning with the suite embedded"),
        (["--suite", "speculation-prompted", "--small", "a", "--model", "a"], "are both 'a'"),
        (["pdr", "--small", "a"], "--small is of a suite"),
        (["pdr", "--part", "breadth"], "--part is of a suite"),
        ([], "there is no program to evaluate"),
        (["--limit", "3"], "there is no program to evaluate"),
    ],
)
def test_what_makes_no_sense_is_refused(
    evaluated: Callable[..., int], capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    assert evaluated(*words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err
    assert not Path("runs").exists()


def test_threads_are_told_as_json_and_as_tables(
    evaluated: Callable[..., int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    weaver = Weaver(load("graphmath:threads", limit=2), [Play(sequential=200, threads=(60, 90), tail=5)] * 2)
    monkeypatch.setattr(command, "open_lm", lambda model, **_: weaver.open(model))
    words = ("--suite", "threads", "--limit", "2")
    assert evaluated(*words, "--json") == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert found["figures"]["token_latency_ratio"] == pytest.approx(204 / 127, abs=1e-6)
    assert {"by_width", "modes", "repairs", "blocks_and_threads"} <= set(found)
    assert "low_load: sequential and threaded in turns on 2 problems, one run at a time" in err
    assert "low_load 4/4" in err
    assert evaluated(*words) == 0
    table = capsys.readouterr().out
    assert "minus sequential" in table
    assert "at least 1.80: not met" in table


def test_another_model_has_another_folder() -> None:
    assert command.default_folder("embedded", 40, 0) == Path("runs/suite-embedded-40-0")
    assert command.default_folder("embedded", 40, 0, "models/try 7/") == Path("runs/suite-embedded-40-0-try_7")
    given = command.default_folder("threads-prompted", 40, 0, "a/b", Path("data/gsm8k.jsonl"))
    assert given == Path("runs/suite-threads-prompted-40-0-b-gsm8k")
    two = command.default_folder("speculation-prompted", 40, 0, "a/b", None, "a/c")
    assert two == Path("runs/suite-speculation-prompted-40-0-b-c")


def test_two_engines_share_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "device", lambda: "cuda")
    assert 0 < command.beside_another()["gpu_memory_utilization"] < 0.5
    monkeypatch.setattr(facts, "device", lambda: "cpu")
    assert command.beside_another() == {}
