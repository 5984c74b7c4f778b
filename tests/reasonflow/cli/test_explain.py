"""`reasonflow explain`: a plan before anything runs."""

from __future__ import annotations

import json
import sys

import pytest

from reasonflow.cli.main import main


def reasonflow(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """The command's exit code."""
    monkeypatch.setattr(sys, "argv", ["reasonflow", *words])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_json_is_one_object_and_names_every_pass(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reasonflow(monkeypatch, "explain", "pdr", "--set", "widths=2,2", "--passes", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["program"] == "PDR"
    assert {"deduplicate", "fuse_samples", "prioritise"} <= set(result["passes"])


def test_the_tree_is_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert reasonflow(monkeypatch, "explain", "self_consistency", "--set", "n=3") == 0
    assert "solve × 3" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["pdrr"], "did you mean 'pdr'"),
        (["pdr", "--signature", "problem"], "no outputs"),
        (["pdr", "--signature", "a: foo -> b"], "not a signature"),
        (["pdr", "--set", "widths=0,2"], "n=0 is out of range"),
        (["sequential_refine", "--set", "rounds=0"], "does not bound this loop"),
        (["pdr", "--model", "nosuchmodel"], "unknown model"),
    ],
)
def test_wrong_input_ends_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    assert reasonflow(monkeypatch, "explain", *words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert says in err
