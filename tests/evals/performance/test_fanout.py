"""The fan-out benchmark at a small size: its shape and its promises, not its figures."""

from __future__ import annotations

import pytest

from reasonflow.errors import InputError
from reasonflow.evals.performance.fanout import ARMS, FanOuts, measure_fanout


@pytest.fixture(scope="module")
def measured() -> FanOuts:
    return measure_fanout(widths=(1, 64), repeats=2, latency_s=0.1)


def test_every_arm_is_measured_at_every_width(measured: FanOuts) -> None:
    assert set(measured.figures()) == {f"{arm}_over_ideal_{width}" for arm in ARMS for width in (1, 64)}


def test_nothing_beats_the_ideal_and_branches_wait_side_by_side(measured: FanOuts) -> None:
    for arm in ARMS:
        assert measured.over_ideal(arm, 1)[1] > 0.99
        assert measured.over_ideal(arm, 64)[1] < 32  # one after the other it would be 64


def test_a_median_lies_within_its_spread(measured: FanOuts) -> None:
    for arm, width in measured.wall_s:
        middle, least, most = measured.over_ideal(arm, width)
        assert least <= middle <= most


def test_the_numbers_stand_beside_what_they_were_measured_on(measured: FanOuts) -> None:
    told = measured.report().to_json()
    assert told["figures"] == measured.figures()
    assert told["spread"].keys() == told["figures"].keys()
    assert {"python", "dspy", "reasonflow"} <= told["versions"].keys()
    assert told["hardware"]["cores"].isdigit()


@pytest.mark.parametrize(
    ("widths", "repeats", "latency_s"), [((0,), 1, 0.1), ((), 1, 0.1), ((1,), 0, 0.1), ((1,), 1, 0.0)]
)
def test_sizes_that_are_none_are_refused(widths: tuple[int, ...], repeats: int, latency_s: float) -> None:
    with pytest.raises(InputError):
        measure_fanout(widths, repeats, latency_s=latency_s)
