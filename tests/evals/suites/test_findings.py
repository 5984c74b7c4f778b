"""Rows, goals and breakdowns: as flat figures, as JSON, as tables."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from reasonflow.evals.statistics import Interval
from reasonflow.evals.suites.findings import Breakdown, Findings, Goal, Row, Share
from reasonflow.evals.suites.table import tables

FOUND = Findings(
    rows=(
        Row(task="noise", arm="vote", figure="vote_noise", result=Interval(0.5, 0.4, 0.6), setting="n=9", problems=20),
        Row(
            task="noise",
            arm="pdr",
            figure="pdr_noise",
            result=Interval(0.625, 0.5, 0.7),
            against="vote",
            difference=Interval(0.125, -0.01, 0.2),
            total_tokens=1234.5678901,
            problems=20,
        ),
        Row(task="verdict", arm="area under ROC", figure="verdict_auc", result=None),
    ),
    goals=(
        Goal(figure="vote_noise", least=0.6, most=0.7),
        Goal(figure="pdr_minus_vote_noise", least=0.1),
        Goal(figure="verdict_auc", least=0.9),
    ),
    breakdowns=(Breakdown("copies", "Copies", ({"regime": "noise", "copied": Share(0.25, 8)},)),),
    more={"copy_rate_noise": 0.25},
)


def test_figures_are_flat_and_json_says_which_goals_are_met() -> None:
    found = FOUND.to_json()
    assert found["figures"] == {
        "vote_noise": 0.5,
        "pdr_noise": 0.625,
        "pdr_minus_vote_noise": 0.125,
        "verdict_auc": None,
        "copy_rate_noise": 0.25,
    }
    assert [goal["met"] for goal in found["goals"]] == [False, True, None]
    assert found["rows"][1]["difference"] == {"value": 0.125, "low": -0.01, "high": 0.2}
    assert found["rows"][1]["total_tokens"] == 1234.56789
    assert found["copies"] == [{"regime": "noise", "copied": {"value": 0.25, "of": 8}}]


def test_tables_show_goals_in_words_beside_their_figures() -> None:
    out = StringIO()
    for table in tables("a title", FOUND):
        Console(file=out, width=200).print(table)
    lines = {line.split("│")[2].strip(): line for line in out.getvalue().splitlines() if line.count("│") > 5}
    assert "0.60 to 0.70: not met" in lines["vote"]
    assert "minus vote at least 0.10: met" in lines["pdr"]
    assert "+0.125 (-0.010 to +0.200)" in lines["pdr"]
    assert "at least 0.90: no figure" in lines["area under ROC"]
    assert "0.250 of 8" in out.getvalue()


@pytest.mark.parametrize(
    ("goal", "words", "right", "wrong"),
    [
        (Goal(figure="x", least=0.5), "at least 0.50", (0.5, 0.9), (0.49,)),
        (Goal(figure="x", most=0.5), "at most 0.50", (0.5, 0.1), (0.51,)),
        (Goal(figure="x", least=0.1, most=0.5), "0.10 to 0.50", (0.1, 0.5), (0.09, 0.51)),
        (Goal(figure="x", above=0.0), "more than 0.00", (0.01,), (0.0, -1.0)),
    ],
)
def test_goals(goal: Goal, words: str, right: tuple[float, ...], wrong: tuple[float, ...]) -> None:
    assert str(goal) == words
    assert all(goal.met({"x": value}) for value in right)
    assert not any(goal.met({"x": value}) for value in wrong)
    assert goal.met({}) is None
