"""Ranges: what they hold, what they refuse, and that artifacts keep them. Choices are tested with programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import reasonflow as rf
from reasonflow.errors import InputError


def test_a_range_stands_for_its_value() -> None:
    width = rf.Range(4, 1, 16, log=True)
    assert list(range(width)) == [0, 1, 2, 3]
    assert width + 1 == 5
    width.set(16)
    assert width == 16
    assert rf.Range(0.5, 0, 2).whole is False


@pytest.mark.parametrize("value", [0, 17, 2.5, True, None, float("nan")])
def test_what_is_outside_is_refused(value: Any) -> None:
    width = rf.Range(4, 1, 16)
    with pytest.raises(InputError):
        width.set(value)
    with pytest.raises(InputError):
        width.load_state({"value": value})
    assert width == 4


@pytest.mark.parametrize(("low", "high", "log"), [(4, 4, False), (9, 1, False), (0, 8, True), (1, float("inf"), False)])
def test_a_range_without_anything_to_choose_is_refused(low: float, high: float, log: bool) -> None:
    with pytest.raises(InputError):
        rf.Range(4, low, high, log=log)


def test_an_artifact_keeps_a_range_and_its_value(tmp_path: Path) -> None:
    program = rf.SelfConsistency(n=rf.Range(4, 1, 16, log=True))
    program.n.set(9)
    program.save(tmp_path / "vote.json")
    loaded = rf.load(tmp_path / "vote.json")
    assert isinstance(loaded.n, rf.Range)
    assert (loaded.n.value, loaded.n.low, loaded.n.high, loaded.n.log) == (9, 1, 16, True)
    whole = json.loads((tmp_path / "vote.json").read_text())
    whole["reasonflow"]["choices"]["n"] = 99
    (tmp_path / "vote.json").write_text(json.dumps(whole))
    with pytest.raises(InputError, match="outside this Range"):
        rf.load(tmp_path / "vote.json")


def test_a_program_takes_a_choice_of_ones_own() -> None:
    program = rf.PDR(widths=rf.Choice((4,), options=[(4,), (2, 2)]))
    assert program.widths.options == [(4,), (2, 2)]
    assert rf.PDR(widths=(3, 2)).widths.options[0] == (3, 2)
