"""The benchmark of orders under KV pressure at a small size: its shape and its promises, not its figures."""

from __future__ import annotations

import dspy
import pytest

import reasonflow as rf
from reasonflow.errors import InputError
from reasonflow.evals.performance.pressure import (
    ARMS,
    FITTING,
    PRESSURE,
    Pressure,
    Sizes,
    Trial,
    measure_pressure,
    sizes_of,
)


def engine(kv_blocks: int = 120) -> dspy.LM:
    """Eight slots, and a cache that forgets."""
    return rf.scripted("apples and pears", latency=0.004, max_running=8, kv_blocks=kv_blocks)


@pytest.fixture(scope="module")
def measured() -> Pressure:
    return measure_pressure(engine())


def test_every_arm_is_measured(measured: Pressure) -> None:
    assert {trial.arm for trial in measured.trials} == set(ARMS)
    told = measured.report().to_json()
    assert {f"{arm}_hit" for arm in ARMS} | {f"{arm}_s" for arm in ARMS} <= set(told["figures"])
    assert told["round_robin_is_lower_bound"] == measured.stopped


def test_four_times_as_many_prefixes_as_fit(measured: Pressure) -> None:
    sizes = measured.sizes
    assert sizes.problems == pytest.approx(FITTING * PRESSURE, abs=1)
    assert sizes.kv_tokens / 6 < FITTING * sizes.prefix_tokens < sizes.kv_tokens


def test_depth_first_reuses_what_round_robin_forgets(measured: Pressure) -> None:
    figures = measured.figures()
    assert figures["depth_first_hit"] > figures["round_robin_hit"] + 0.3
    assert all(trial.done == 1 for trial in measured.trials if trial.arm != "round_robin")


def test_a_stopped_arm_is_told_as_a_lower_bound() -> None:
    sizes = Sizes(slots=8, kv_tokens=2000, problems=24, branches=2, prefix_tokens=160)

    def trial(arm: str, wall_s: float, done: float) -> Trial:
        return Trial(arm=arm, repeat=1, wall_s=wall_s, hit=0.5, computed=9, steps=9, done=done)

    trials = (*(trial(arm, 2.0, 1.0) for arm in ARMS[:-1]), trial("round_robin", 6.0, 0.25))
    report = Pressure(trials=trials, sizes=sizes, repeats=1).report()
    assert report.figures["round_robin_over_ours"] == 3
    assert report.details["round_robin_is_lower_bound"] is True
    assert "lower bound" in report.notes[0]


def test_a_cache_too_small_for_its_slots_is_refused() -> None:
    with pytest.raises(InputError, match="too small for 8 running samples"):
        sizes_of(engine(kv_blocks=24))
