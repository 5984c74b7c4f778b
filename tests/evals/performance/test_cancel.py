"""The cancel benchmark at a small size: its shape and its promises, not its figures."""

from __future__ import annotations

import json
import signal
import statistics
from typing import Any

import dspy
import pytest

import reasonflow as rf
from reasonflow.errors import InputError
from reasonflow.evals.performance.cancel import LONG, SHORT, Cancelling, measure_cancel

ARMS = {"vote", "quorum", "wait_for_all", "race", "asyncio", "task", "interrupt", "deadline"}


def answer(prompt: str, seed: int | None, index: int) -> str:
    """Five short ones that agree, then long ones."""
    return "It is 4. " + "word " * (10 + 300 * (index > 4))


def seconds(request: Any, index: int) -> float:
    return 0.002 * (request.sampling.max_tokens or 100) * (1 + 0.05 * index)


@pytest.fixture(scope="module")
def measured() -> Cancelling:
    return measure_cancel(rf.scripted(answer, latency=seconds), repeats=1)


def test_every_arm_runs_and_the_figures_are_flat(measured: Cancelling) -> None:
    assert {trial.arm for trial in measured.trials} == ARMS
    told = json.loads(json.dumps(measured.report().to_json()))
    assert {"steps_to_idle", "tokens_saved", "race_wall_ratio"} <= set(told["figures"])
    assert all(isinstance(figure, (int, float)) for figure in told["figures"].values())


def test_a_race_is_as_short_as_its_winner_and_saves_tokens(measured: Cancelling) -> None:
    figures = measured.figures()
    assert figures["race_wall_ratio"] < 0.8
    assert figures["race_tokens_saved"] > 0


def test_a_quorum_saves_tokens_and_keeps_the_winner(measured: Cancelling) -> None:
    figures = measured.figures()
    assert figures["quorum_tokens_saved"] > 0
    assert figures["quorum_same_winner"] == 1
    assert {trial.winner for trial in measured.of("vote")} == {"four"}


def test_what_the_records_claim_is_no_less_than_what_was_saved(measured: Cancelling) -> None:
    figures = measured.figures()
    assert figures["tokens_saved"] <= figures["tokens_saved_at_most"]


@pytest.mark.parametrize("arm", ["race", "task", "interrupt", "deadline"])
def test_every_cancellation_takes_samples_out(measured: Cancelling, arm: str) -> None:
    (trial,) = measured.of(arm)
    assert trial.saved_at_most > 0
    assert trial.idle_ms is not None
    assert trial.idle_ms < 500 * trial.wall_s


@pytest.mark.usefixtures("measured")
def test_the_callers_own_handler_of_interrupts_is_back() -> None:
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_no_repeats_are_refused() -> None:
    with pytest.raises(InputError, match="0 repeats"):
        measure_cancel(rf.scripted("x"), repeats=0)


@pytest.mark.engine
def test_on_the_real_engine_cancelled_samples_leave_within_one_step(embedded_lm: dspy.LM) -> None:
    found = measure_cancel(embedded_lm, repeats=3)
    figures = found.figures()
    # Of 3 ms each, while a thread may wait 5 ms for the interpreter: two in one of five to ten trials, measured. Of the
    # four trials of one repeat two may be so.
    steps = [trial.steps for trial in found.trials if trial.steps is not None]
    assert statistics.median(steps) <= 1
    assert figures["steps_to_idle"] == max(steps) <= 3
    assert figures["quorum_same_winner"] == 1
    # Forced lengths: the loser wrote as much as the winner, and a token more for each step that was under way.
    assert LONG - SHORT - 3 <= figures["race_tokens_saved"] <= LONG - SHORT
    assert figures["race_wall_ratio"] < 1
    assert found.provenance.engine["model"] == "embedded"
