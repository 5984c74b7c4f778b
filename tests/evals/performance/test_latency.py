"""The benchmark of latencies at a small size: its shape and its promises, not its figures."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

import reasonflow as rf
from reasonflow.errors import InputError
from reasonflow.evals.performance.latency import ARMS, LOAD, Latencies, Trial, arrivals, measure_latency, quantile


def seconds(request: Any, index: int) -> float:
    return 0.001 * (request.sampling.max_tokens or 10)


@pytest.fixture(scope="module")
def measured() -> Latencies:
    return measure_latency(rf.scripted("four", latency=seconds, max_running=8), horizon_s=0.5)


def test_every_arm_serves_every_arrival(measured: Latencies) -> None:
    for arm in ARMS:
        (trial,) = measured.of(arm)
        assert len(trial.latencies_s) >= 20
        assert min(trial.latencies_s) > 0.01
    told = measured.report().to_json()
    for arm in ("ours", "fcfs"):
        assert {f"{arm}_mean_s", f"{arm}_p95_s", f"{arm}_throughput"} <= set(told["figures"])


def test_a_program_among_others_is_no_quicker_than_alone(measured: Latencies) -> None:
    assert measured.figures()["ours_max_slowdown"] >= 1


def test_arrivals_are_a_seeded_mix_at_the_rate_that_was_asked_for() -> None:
    coming = arrivals(100, 5.0, seed=1)
    assert coming == arrivals(100, 5.0, seed=1)
    assert coming != arrivals(100, 5.0, seed=2)
    assert Counter(each.kind for each in coming) == {"single": 75, "vote": 15, "pdr": 6, "wide": 4}
    assert coming[-1].at_s == pytest.approx(20)
    assert [each.at_s for each in coming] == sorted(each.at_s for each in coming)
    assert LOAD < 1


def test_a_slowdown_is_over_the_same_kind_alone() -> None:
    trial = Trial(arm="ours", repeat=1, latencies_s=(1.0, 3.0), kinds=("single", "pdr"), makespan_s=4.0)
    assert trial.slowdown({"single": 0.25, "pdr": 1.5}) == 4
    assert (trial.mean_s, trial.throughput) == (2.0, 0.5)


def test_a_quantile_is_one_of_the_numbers() -> None:
    assert quantile([3.0, 1.0, 2.0], 0.95) == 3.0
    assert quantile(list(range(100)), 0.95) == 95


@pytest.mark.parametrize(("repeats", "horizon_s"), [(0, 1.0), (1, 0.0)])
def test_sizes_that_are_none_are_refused(repeats: int, horizon_s: float) -> None:
    with pytest.raises(InputError):
        measure_latency(rf.scripted("x"), repeats, horizon_s=horizon_s)
