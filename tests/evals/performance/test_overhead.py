"""The overhead benchmark at a small size: its shape and its promises, not its figures."""

from __future__ import annotations

import pytest

from reasonflow.errors import InputError
from reasonflow.evals.performance.overhead import Overhead, measure_overhead

ARMS = ("ours", "ours_distinct", "dspy_sync", "dspy_async")


@pytest.fixture(scope="module")
def measured() -> Overhead:
    return measure_overhead(widths=(1, 64), repeats=2)


def test_every_arm_is_measured_at_every_width(measured: Overhead) -> None:
    assert set(measured.figures()) == {f"{arm}_ms_{width}" for arm in ARMS for width in (1, 64)}
    assert all(ms > 0 for ms in measured.figures().values())


def test_a_median_lies_within_its_spread(measured: Overhead) -> None:
    for measurement in measured.measurements:
        low, high = measurement.cpu_ms_range
        assert low <= measurement.cpu_ms <= high


def test_the_numbers_stand_beside_what_they_were_measured_on(measured: Overhead) -> None:
    told = measured.report().to_json()
    assert told["figures"] == measured.figures()
    assert {"python", "dspy", "reasonflow"} <= told["versions"].keys()
    assert told["hardware"]["cores"].isdigit()


def test_a_wide_fan_out_costs_less_than_dspys_own(measured: Overhead) -> None:
    best = min(measured.of(arm, 64).cpu_ms for arm in ("dspy_sync", "dspy_async"))
    assert measured.of("ours", 64).cpu_ms < best


@pytest.mark.parametrize(("widths", "repeats"), [((0,), 1), ((), 1), ((1,), 0)])
def test_sizes_below_one_are_refused(widths: tuple[int, ...], repeats: int) -> None:
    with pytest.raises(InputError):
        measure_overhead(widths, repeats)
