"""The suite `embedded` on an engine that errs as it is told to: its figures, and that it goes on where it stopped."""

from __future__ import annotations

import json
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import anyio
import dspy
import pytest
from rich.console import Console

import reasonflow as rf
from reasonflow.errors import EngineDead, RunError, UnknownName
from reasonflow.evals import suites
from reasonflow.evals.suites.arms import Arm, accuracy_of, run_arm
from reasonflow.evals.suites.embedded import GOALS, REGIMES, SUITE, problems_of
from reasonflow.evals.suites.findings import Findings
from reasonflow.evals.suites.outcomes import pool, singly, voted
from reasonflow.evals.suites.suite import Setting
from tests.evals.suites.solver import solver

LIMIT = 6


class Engines:
    """Scripted engines in place of the two models; counts what they are asked."""

    def __init__(self, slips: float = 0.08) -> None:
        self.answers = solver(LIMIT, slips)
        self.asked = 0
        self.dies_after: int | None = None
        self.opened: list[str] = []

    def open(self, model: str, **_: Any) -> dspy.LM:
        self.opened.append(model)
        return rf.scripted(self.answer, model=model, temperature=1.0, window=16_384)

    def answer(self, prompt: str, seed: int | None, index: int) -> Any:
        self.asked += 1
        if self.dies_after is not None and self.asked > self.dies_after:
            return EngineDead("it died")
        return self.answers(prompt, seed, index)


def setting_of(out: Path, engines: Engines, limit: int = LIMIT, parts: tuple[str, ...] = ()) -> Setting:
    console = Console(file=StringIO())
    return Setting(open=engines.open, model="embedded", limit=limit, seed=1, out=out, console=console, parts=parts)


def made(out: Path, engines: Engines, limit: int = LIMIT, parts: tuple[str, ...] = ()) -> Findings:
    return anyio.run(SUITE.make, setting_of(out, engines, limit, parts))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Engines, Findings]:
    """One run of all of it."""
    out, engines = tmp_path_factory.mktemp("suite"), Engines()
    return out, engines, made(out, engines)


def test_every_figure_of_a_goal_is_measured(whole: tuple[Path, Engines, Findings]) -> None:
    figures = whole[2].figures
    assert {goal.figure for goal in GOALS} <= set(figures)
    for regime in REGIMES:
        arms = ("single", "vote", "part_vote", "pdr", "sr", "sr_total")
        assert all(0 <= (figures[f"{arm}_{regime}"] or 0) <= 1 for arm in arms)
    assert "best_of_breadth" in figures
    assert "best_of_noise" not in figures


def test_reading_the_drafts_wins_where_no_single_sample_ends(whole: tuple[Path, Engines, Findings]) -> None:
    figures = whole[2].figures
    assert (figures["single_length"] or 0) < 0.1  # few solutions fit the cap
    assert (figures["pdr_length"] or 0) > (figures["vote_length"] or 0)
    assert (figures["part_vote_noise"] or 0) >= (figures["single_noise"] or 0)


def test_arms_spend_alike(whole: tuple[Path, Engines, Findings]) -> None:
    rows = {(row.task, row.arm): row for row in whole[2].rows}
    for regime in REGIMES:
        pdr, vote, sr = (rows[regime, arm] for arm in ("pdr", "vote", "sr"))
        single = rows[regime, "single"]
        assert pdr.total_tokens is not None
        assert pdr.sequential_tokens is not None
        assert vote.total_tokens is not None
        assert sr.sequential_tokens is not None
        assert single.total_tokens is not None
        assert abs(vote.total_tokens - pdr.total_tokens) <= 0.6 * single.total_tokens
        one_round = (sr.sequential_tokens - single.total_tokens) / int(sr.setting.removeprefix("rounds="))
        assert sr.setting == "rounds=1" or abs(sr.sequential_tokens - pdr.sequential_tokens) <= 0.6 * one_round


def test_differences_are_those_of_the_accuracies(whole: tuple[Path, Engines, Findings]) -> None:
    figures = whole[2].figures
    for row in whole[2].rows:
        if row.difference is not None:
            assert row.result is not None
            vote = figures[f"vote_{row.task}"]
            assert vote is not None
            assert row.difference.value == pytest.approx(row.result.value - vote)
            assert row.difference.low <= row.difference.value <= row.difference.high


def test_breakdowns_count_every_run(whole: tuple[Path, Engines, Findings]) -> None:
    found = {breakdown.name: breakdown.rows for breakdown in whole[2].breakdowns}
    for row in found["pdr_by_right_drafts"]:
        numbers = list(map(str, range(REGIMES[row["regime"]].widths[-1] + 1)))
        assert list(row) == ["regime", *numbers]
        assert sum(row[number].of for number in numbers) == LIMIT
    for row in found["copying"]:
        assert row["copied"].value == pytest.approx(row["copied, right"].value + row["copied, wrong"].value)
        kinds = ("copied, right", "copied, wrong", "new, right", "new, wrong")
        assert sum(row[kind].value for kind in kinds) == pytest.approx(1)
    assert sum(row["accuracy"].of for row in found["twin_by_operations"]) == LIMIT


def test_a_second_run_asks_nothing_and_finds_the_same(whole: tuple[Path, Engines, Findings]) -> None:
    out, engines, first = whole
    asked, second = engines.asked, made(out, engines)
    assert engines.asked == asked
    assert second == first
    assert json.loads((out / "results.json").read_text())["figures"] == first.to_json()["figures"]


def test_a_run_that_was_stopped_goes_on_to_the_same_figures(tmp_path: Path) -> None:
    engines = Engines()
    whole = made(tmp_path / "whole", engines, limit=2)
    needed, engines.asked, engines.dies_after = engines.asked, 0, engines.asked * 2 // 3
    with pytest.raises(EngineDead):
        made(tmp_path / "stopped", engines, limit=2)
    engines.asked, engines.dies_after = 0, None
    again = made(tmp_path / "stopped", engines, limit=2)
    assert again.figures == whole.figures
    assert engines.asked < needed / 2


def test_parts_make_the_same_table_together(whole: tuple[Path, Engines, Findings], tmp_path: Path) -> None:
    engines = Engines()
    alone = made(tmp_path, engines, parts=("breadth",))
    assert {row.task for row in alone.rows} == {"breadth"}
    assert not (tmp_path / "results.json").exists()
    for part in ("twin", "mid", "noise", "length"):
        made(tmp_path, engines, parts=(part,))
    engines.asked = 0
    assert made(tmp_path, engines).figures == whole[2].figures
    assert engines.asked == 2 * LIMIT  # the verdicts about mid and breadth, which no part has alone


def test_a_part_that_is_none_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="did you mean 'breadth'"):
        made(tmp_path, Engines(), parts=("bredth",))


def test_what_is_read_off_is_what_a_run_of_its_own_gives(whole: tuple[Path, Engines, Findings], tmp_path: Path) -> None:
    rows = {(row.task, row.arm): row for row in whole[2].rows}
    config, problems = REGIMES["breadth"].config, problems_of("breadth", LIMIT)

    def run_alone(program: dspy.Module) -> Arm:
        engines = Engines()
        setting = setting_of(tmp_path / type(program).__name__, engines)
        return anyio.run(partial(run_arm, setting, engines.open("embedded"), "alone", program, problems))

    vote, sr = rows["breadth", "vote"], rows["breadth", "sr"]
    n = int(vote.setting.removeprefix("n="))
    alone = run_alone(rf.SelfConsistency(n=n, config=config))
    read = voted(pool(n, alone))
    assert read.verdicts == alone.verdicts
    assert (read.total_tokens, read.sequential_tokens) == (alone.total_tokens, alone.sequential_tokens)
    alone = run_alone(rf.SequentialRefine(rounds=int(sr.setting.removeprefix("rounds=")), config=config))
    assert accuracy_of(alone.verdicts) == sr.result
    assert (alone.total_tokens, alone.sequential_tokens) == (sr.total_tokens, sr.sequential_tokens)


def test_a_pool_takes_one_arms_samples_after_the_others_and_none_twice(tmp_path: Path) -> None:
    engines, problems = Engines(slips=0.9), problems_of("noise", LIMIT)

    def run_alone(folder: str, program: dspy.Module) -> Arm:
        setting = setting_of(tmp_path, engines)
        return anyio.run(partial(run_arm, setting, engines.open("embedded"), folder, program, problems))

    pdr, more = run_alone("pdr", rf.PDR(widths=(4, 2))), run_alone("more", rf.SelfConsistency(n=3))
    pooled = pool(6, pdr, more)
    for (problem, drawn), (same, _, first), (_, _, second) in zip(pooled.drawn, pdr.runs(), more.runs(), strict=True):
        assert problem == same
        assert drawn == (*first[:4], *second[:2])
        assert len({call.text for call in drawn}) == 6


def test_a_sample_that_failed_is_a_wrong_one(tmp_path: Path) -> None:
    engines, problems = Engines(slips=0.0), problems_of("noise", 2)
    setting = setting_of(tmp_path, engines)
    arm = anyio.run(partial(run_arm, setting, engines.open("embedded"), "two", rf.SelfConsistency(n=2), problems))
    assert singly(pool(3, arm)).verdicts == [[1.0, 1.0, 0.0]] * 2


def test_where_every_run_fails_there_is_nothing_to_match(tmp_path: Path) -> None:
    engines = Engines()
    engines.answers = lambda *_: ValueError("no answer")
    with pytest.raises(RunError, match=r"no run of the regime '[a-z]+' came to its end"):
        made(tmp_path, engines, limit=1)


def test_an_unknown_suite_names_the_known_ones() -> None:
    assert suites.find("embedded") is SUITE
    with pytest.raises(UnknownName, match="did you mean 'embedded'"):
        suites.find("embeded")
