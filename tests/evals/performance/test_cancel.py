"""The cancel benchmark at a small size: its shape and its promises, not its figures."""

from __future__ import annotations

import json
from typing import Any

import dspy
import pytest

import reasonflow as rf
from reasonflow.errors import InputError
from reasonflow.evals.performance.cancel import Cancelling, measure_cancel

ARMS = {"vote", "quorum", "wait_for_all", "race", "asyncio", "task", "interrupt", "deadline"}


def answer(prompt: str, seed: int | None, index: int) -> str:
    return "word " * (10 + 60 * (index > 4)) + f"\\boxed{{{(seed or 0) % 2}}}"


def seconds(request: Any, index: int) -> float:
    return 0.002 * (request.sampling.max_tokens or 100) * (1 + 0.05 * index)


@pytest.fixture(scope="module")
def measured() -> Cancelling:
    return measure_cancel(rf.scripted(answer, latency=seconds), repeats=1)


def test_every_arm_runs_and_the_figures_are_flat(measured: Cancelling) -> None:
    assert {trial.arm for trial in measured.trials} == ARMS
    told = json.loads(json.dumps(measured.to_json()))
    assert {"steps_to_idle", "tokens_saved", "race_wall_ratio"} <= set(told["figures"])
    assert all(isinstance(figure, (int, float)) for figure in told["figures"].values())


def test_a_race_is_as_short_as_its_winner_and_saves_tokens(measured: Cancelling) -> None:
    figures = measured.figures()
    assert figures["race_wall_ratio"] < 0.8
    assert figures["race_tokens_saved"] > 0


def test_a_quorum_saves_tokens_and_keeps_the_answer(measured: Cancelling) -> None:
    figures = measured.figures()
    assert figures["quorum_tokens_saved"] > 0
    assert figures["quorum_same_answers"] == 1


def test_no_repeats_are_refused() -> None:
    with pytest.raises(InputError, match="0 repeats"):
        measure_cancel(rf.scripted("x"), repeats=0)


@pytest.mark.engine
def test_on_the_real_engine_cancelled_samples_leave_within_one_step(embedded_lm: dspy.LM) -> None:
    figures = measure_cancel(embedded_lm, repeats=1).figures()
    assert figures["steps_to_idle"] <= 1
    assert figures["race_tokens_saved"] > 0
    assert figures["race_wall_ratio"] < 1
