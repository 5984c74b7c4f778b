"""`reasonflow explain`: a plan before anything runs."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest


def test_json_is_one_object_and_names_every_pass(
    reasonflow: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert reasonflow("explain", "pdr", "--set", "widths=2,2", "--passes", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["program"] == "PDR"
    assert {"deduplicate", "fuse_samples", "prioritise"} <= set(result["passes"])


def test_the_tree_is_printed(reasonflow: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert reasonflow("explain", "self_consistency", "--set", "n=3") == 0
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
    reasonflow: Callable[..., int], capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    assert reasonflow("explain", *words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert says in err


def test_a_budget_shows_what_each_call_may_write(
    reasonflow: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert reasonflow("explain", "pdr", "--budget", "sequential=16k") == 0
    out = capsys.readouterr().out
    assert "budget: 16,000 sequential tokens" in out
    assert "16,000 sequential" in out
    assert "output tokens a sample" in out
    assert reasonflow("explain", "pdr", "--budget", "sequential=16k", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["budget"] == {"sequential": 16_000}
    assert told["bound"]["sequential_tokens"] == 16_000
    assert reasonflow("explain", "pdr", "--budget", "sequential=500") == 0
    assert "too little to finish" in capsys.readouterr().out
    assert reasonflow("explain", "pdr", "--budget", "sequential=20") == 1
    assert "needs at least" in capsys.readouterr().err
