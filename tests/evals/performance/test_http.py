"""The benchmark of HTTP clients at a small size: its shape and its promises, not its figures."""

from __future__ import annotations

import pytest

from reasonflow.errors import InputError
from reasonflow.evals.performance.http import ARMS, Http, measure_http

FEW = ("raw", "raw_orjson", "backend", "ours", "program", "dspy_lm15")
"""All but LiteLLM, which takes seconds to import."""


@pytest.fixture(scope="module")
def measured() -> Http:
    return measure_http(repeats=2, arms=FEW)


def test_every_arm_has_a_time_and_a_ratio_to_aiohttp(measured: Http) -> None:
    assert set(FEW) == set(ARMS) - {"dspy_litellm"}
    figures = measured.figures()
    every = {f"{arm}_ms" for arm in FEW} | {f"{arm}_ratio" for arm in FEW if arm != "raw"}
    assert set(figures) == every | {"ours_ms_64", "dspy_ms_64", "aiohttp_ms_64"}
    assert all(value > 0 for value in figures.values())


def test_a_ratio_is_taken_within_each_repeat() -> None:
    made = Http(cpu_ms={"raw": (1.0, 2.0, 4.0), "ours": (2.0, 2.0, 12.0)}, repeats=3)
    assert made.ratio("ours") == 2.0
    told = {"raw_ms": 2.0, "ours_ms": 2.0, "ours_ratio": 2.0, "ours_ms_64": 2.0, "aiohttp_ms_64": 2.0}
    assert made.figures() == told


def test_the_numbers_stand_beside_what_they_were_measured_on(measured: Http) -> None:
    told = measured.report().to_json()
    assert told["figures"] == measured.figures()
    assert {"python", "dspy", "aiohttp"} <= told["versions"].keys()


def test_a_call_costs_far_less_than_dspys_own(measured: Http) -> None:
    assert measured.median("ours") < measured.median("dspy_lm15") / 2


def test_no_repeats_are_refused() -> None:
    with pytest.raises(InputError):
        measure_http(repeats=0)
