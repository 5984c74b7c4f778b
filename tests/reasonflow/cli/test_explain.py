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
