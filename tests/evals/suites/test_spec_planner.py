"""The parts `planner` and `actions` of the suite `speculation`, on models that play their roles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dspy
import pytest
from anyio import run as anyio_run
from rich.console import Console

import reasonflow as rf
from reasonflow.evals import manifest
from reasonflow.evals.curriculum.tooling import needs_tools
from reasonflow.evals.performance.conditions import forget
from reasonflow.evals.suites import low_load, planner_gate, spec_actions, spec_planner, waits
from reasonflow.evals.suites.findings import Findings
from reasonflow.evals.suites.speculation import SUITE
from reasonflow.evals.suites.suite import Setting
from reasonflow.evals.tasks.tools import calculate
from tests.evals.suites.tool_player import Player, items

LIMIT, JUDGED = 6, 60
TWIN = SUITE.small


def never(prompt: str, seed: int | None, index: int) -> Any:
    raise AssertionError("all of it is there")


def made(out: Path, part: str, small: Any, large: Any, *, delay_s: float = 0.0) -> Findings:
    """delay_s: of each call of the large model, so that a guess is ahead of it."""

    def opened(name: str) -> dspy.LM:
        if name == TWIN:
            return rf.scripted(small, model=name, top_logprobs=20, window=32_768)
        return rf.scripted(large, model=name, top_logprobs=20, window=32_768, latency=delay_s)

    setting = Setting(
        open=opened,
        model="m",
        limit=LIMIT,
        seed=0,
        out=out,
        console=Console(quiet=True),
        concurrency=4,
        parts=(part,),
        small=TWIN,
    )
    return anyio_run(SUITE.make, setting)


@pytest.fixture(autouse=True)
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds of every wait, in place of waiting. Few problems, and a promise that few samples can keep."""
    found: list[float] = []
    monkeypatch.setattr(waits, "sleep", found.append)
    monkeypatch.setattr(manifest, "state_of", lambda program: "")  # a scripted engine's answers have no JSON form
    monkeypatch.setattr(planner_gate, "JUDGED", JUDGED)
    monkeypatch.setattr(planner_gate, "ALPHA", 0.2)
    monkeypatch.setattr(spec_planner, "ALONE", {150: 4, 0: 2})
    monkeypatch.setattr(spec_planner, "HEDGED_ALONE", 2)
    monkeypatch.setattr(spec_actions, "ALONE", {150: 3, 1000: 1})
    monkeypatch.setattr(spec_actions, "GUARDED_ALONE", 3)
    return found


@pytest.fixture(scope="module")
def player() -> Player:
    return Player(items(LIMIT, JUDGED))


# The planner ----------------------------------------------------------------------------------------------------------


def test_what_the_gate_accepts_needs_no_agent_and_all_figures_are_there(
    tmp_path: Path, player: Player, slept: list[float]
) -> None:
    found = made(tmp_path, "planner", player.small, player.large)
    figures = found.figures
    assert figures["agent_accuracy"] == 1.0
    assert figures["speculative_accuracy"] is not None
    assert figures["speculative_minus_agent"] == pytest.approx(figures["speculative_accuracy"] - 1.0)
    assert figures["beta"] == pytest.approx(sum(not needs_tools(item) for item in items(LIMIT, 0)) / LIMIT)
    assert figures["alpha"] is not None
    assert 0 < figures["alpha"] <= 1
    for name in ("agent_latency", "speculative_latency", "agent_latency_0", "speculative_latency_0", "hedged_latency"):
        assert figures[name] is not None
    ratio = figures["latency_ratio"]
    assert ratio == pytest.approx(figures["agent_latency"] / figures["speculative_latency"])  # type: ignore[operator]
    law, over = figures["law_latency"], figures["law_over_measured"]
    assert over == pytest.approx(law / figures["speculative_latency"])  # type: ignore[operator]
    assert slept
    assert {goal["figure"] for goal in found.to_json()["goals"]} <= set(figures)
    table = {row["score"]: row for row in found.to_json()["calibration"]}
    assert table["token probability"]["accepted"] > 0
    assert table["separability"]["threshold"].startswith("0 scored")  # the player names two tokens, not twenty


def test_the_gate_is_calibrated_on_no_problem_that_is_tested(tmp_path: Path, player: Player) -> None:
    made(tmp_path, "planner", player.small, player.large)
    rows = [json.loads(line) for line in (tmp_path / planner_gate.FOLDER / planner_gate.FILE).read_text().splitlines()]
    assert rows
    assert all("seed=1" in row["id"] for row in rows)
    judge = tmp_path / planner_gate.FOLDER / "judge/samples.jsonl"
    judged = [json.loads(line) for line in judge.read_text().splitlines()]
    assert {row["id"] for row in rows} == {row["id"] for row in judged if row["answer"] == "Yes"}


def test_both_engines_know_nothing_before_each_run(
    tmp_path: Path, player: Player, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgotten: list[str] = []

    def forgets(lm: dspy.LM) -> None:
        forgotten.append(lm.model)
        forget(lm)

    monkeypatch.setattr(low_load, "forget", forgets)
    made(tmp_path, "planner", player.small, player.large)
    # A run to warm up, and at 150 ms those of 4, 4 and 2 problems, at 0 ms of 2 and 2.
    assert forgotten == ["m", TWIN] * (1 + 4 + 4 + 2 + 1 + 2 + 2)


def test_it_goes_on_where_it_was_stopped(tmp_path: Path, player: Player) -> None:
    first = made(tmp_path, "planner", player.small, player.large)
    again = made(tmp_path, "planner", never, never)
    assert again.to_json() == first.to_json()


def test_where_nothing_is_let_through_the_agent_answers_everything(tmp_path: Path) -> None:
    strict = Player(items(LIMIT, JUDGED), judge="No")
    found = made(tmp_path, "planner", strict.small, strict.large)
    figures = found.figures
    assert figures["beta"] == 0.0
    assert figures["alpha"] is None
    assert figures["speculative_minus_agent"] == 0.0
    assert next(row for row in found.rows if row.figure == "alpha").setting == "none was judged free"
    assert figures["law_latency"] == pytest.approx(figures["law_latency_of_fallen"])
    assert found.to_json()["calibration"][0]["right"] is None


def test_where_no_run_ends_nothing_is_made_up(tmp_path: Path) -> None:
    def fails(prompt: str, seed: int | None, index: int) -> Any:
        return "Nothing to say."

    found = made(tmp_path, "planner", fails, fails)
    figures = found.figures
    assert figures["agent_accuracy"] == figures["speculative_accuracy"] == 0.0
    assert figures["beta"] == 0.0
    for name in ("alpha", "latency_ratio", "agent_latency", "law_latency", "law_over_measured"):
        assert figures[name] is None
    assert next(row for row in found.rows if row.figure == "agent_latency").setting


def test_an_agent_that_fails_does_not_hide_what_the_judge_said(tmp_path: Path, player: Player) -> None:
    def fails(prompt: str, seed: int | None, index: int) -> Any:
        return player.large(prompt, seed, index) if "without any tool" in prompt else "Nothing to say."

    found = made(tmp_path, "planner", player.small, fails)
    figures = found.figures
    assert next(row for row in found.rows if row.figure == "beta").problems == LIMIT
    assert figures["beta"] == pytest.approx(sum(not needs_tools(item) for item in items(LIMIT, 0)) / LIMIT)
    assert figures["speculative_accuracy"] > figures["agent_accuracy"] == 0.0  # type: ignore[operator]


# Actions --------------------------------------------------------------------------------------------------------------


def test_guesses_hit_and_change_no_answer(tmp_path: Path, player: Player) -> None:
    found = made(tmp_path, "actions", player.small, player.large, delay_s=0.05)
    figures = found.figures
    assert figures["action_hit_rate"] == 1.0
    assert figures["same_answers"] == 1.0
    assert figures["ahead_accuracy"] == figures["agent_beside_ahead_accuracy"] == 1.0
    assert figures["effects_from_guesses"] == 0.0
    for name in ("seconds_saved", "waste_tokens", "ahead_latency", "ahead_latency_1000"):
        assert figures[name] is not None
    calls = {(row["arm"], row["tool"]): row for row in found.to_json()["calls"]}
    assert calls["ahead", "calculate"]["calls of guesses"] > 0
    assert calls["guarded", "calculate"] == {
        **calls["guarded", "calculate"],
        "declared free": "no",
        "calls of guesses": 0,
    }
    assert calls["guarded", "calculate"]["other calls"] > 0
    again = made(tmp_path, "actions", never, never)
    assert again.to_json() == found.to_json()


def test_effects_of_guesses_would_be_seen(tmp_path: Path, player: Player, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spec_actions, "FREE", {**spec_actions.FREE, "guarded": (calculate.__name__,)})
    found = made(tmp_path, "actions", player.small, player.large, delay_s=0.05)
    assert found.figures["effects_from_guesses"]


def test_guesses_that_never_come_true_save_nothing(tmp_path: Path) -> None:
    dull = Player(items(LIMIT, 0), guesses=False)
    figures = made(tmp_path, "actions", dull.small, dull.large, delay_s=0.05).figures
    assert figures["action_hit_rate"] == 0.0
    assert figures["seconds_saved"] == 0.0
    assert figures["waste_tokens"]
    assert figures["same_answers"] == 1.0
