"""`reasonflow eval --benchmark graphmath:...` as a command, over the scripted engine."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

import reasonflow as rf
from reasonflow.cli import eval as command
from reasonflow.cli.main import main
from reasonflow.evals.tasks.problems import item, parse_source

MID = [item(parse_source("graphmath:mid"), index) for index in range(4)]


@pytest.fixture
def evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Any]:
    """The command's JSON. The engine solves all problems but the last."""

    def reply(prompt: str, *_: object) -> str:
        found = next(found for found in MID if found.text in str(prompt))
        return "\\boxed{1000}" if found is MID[-1] else found.solution(Random(0))

    def run(*words: str) -> Any:
        monkeypatch.setattr(sys, "argv", ["reasonflow", "eval", "chain_of_thought", *words, "--json"])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capsys.readouterr()
        assert code == 0, err
        return json.loads(out)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "open_lm", lambda model, **options: rf.scripted(reply, window=4_000))
    return run


def test_solutions_as_they_are_made_count_as_right(evaluated: Callable[..., Any]) -> None:
    found = evaluated("--benchmark", "graphmath:mid", "--limit", "4")
    assert found["accuracy"] == 0.75
    assert found["benchmark"] == "graphmath:mid"


def test_a_dry_run_bounds_it(evaluated: Callable[..., Any]) -> None:
    found = evaluated("--benchmark", "graphmath:mid", "--limit", "4", "--dry-run")
    assert (found["calls"]["low"], found["out"]) == (4, None)
