"""The tools answer in the lines of solutions, and say what is wrong with what they are asked."""

from __future__ import annotations

import dspy
import pytest

from reasonflow.evals.tasks.lookups import house_with
from reasonflow.evals.tasks.tools import TOOLS, calculate, look_up


def test_a_house_has_what_problems_say() -> None:
    from random import Random

    house = house_with("red cups", 386, Random(1))
    assert look_up("red cups", house) == "red cups = 386"
    with pytest.raises(ValueError, match="no item"):
        look_up("cups", house)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("red cups = 3 + 4", "red cups = 3 + 4 = 7"),
        ("12*4", "12 * 4 = 48"),
        ("old pies = 48 / 4", "old pies = 48 / 4 = 12"),
        ("7 - 7", "7 - 7 = 0"),
    ],
)
def test_it_calculates(asked: str, told: str) -> None:
    assert calculate(asked) == told


@pytest.mark.parametrize("asked", ["", "3", "3 + 4 + 5", "__import__('os')", "7 / 2", "3 - 4", "999 * 9", "1 / 0"])
def test_what_it_cannot_calculate_is_said(asked: str) -> None:
    with pytest.raises(ValueError, match=r"no expression|no whole number"):
        calculate(asked)


def test_an_agent_reads_what_they_are_for() -> None:
    told = [str(dspy.Tool(tool)) for tool in TOOLS]
    assert "How many of an item a house has." in told[0]
    assert "'house': {'type': 'integer'}" in told[0]
    assert "Adds, subtracts" in told[1]
