"""Neighbours of unbeaten settings lie in the space, and close by."""

from __future__ import annotations

import random
from itertools import islice

import pytest

from reasonflow.optimizers.topology.neighbours import neighbours
from reasonflow.optimizers.topology.space import Interval, Options, Space, spell

SPACE = Space(
    (
        Options(name="widths", values=((8, 4), (4,), (2,))),
        Interval(name="rounds", low=1, high=64, log=True, whole=True),
        Interval(name="temperature", low=0.2, high=1.2, log=False, whole=False),
    )
)
BEGIN = {"widths": (4,), "rounds": 8, "temperature": 0.7}


def test_one_knob_is_changed_at_a_time_and_each_comes_up() -> None:
    changed = set()
    for settings in islice(neighbours([BEGIN], SPACE, random.Random(0)), 300):
        different = [name for name in BEGIN if settings[name] != BEGIN[name]]
        assert len(different) <= 1
        changed.update((name, spell({name: settings[name]})) for name in different)
        assert settings["widths"] in ((8, 4), (4,), (2,))
        assert 1 <= settings["rounds"] <= 64
        assert isinstance(settings["rounds"], int)
        assert 0.2 <= settings["temperature"] <= 1.2
    assert {name for name, _ in changed} == set(BEGIN)
    assert {("widths", spell({"widths": (8, 4)})), ("widths", spell({"widths": (2,)}))} <= changed


def test_two_unbeaten_settings_are_mixed() -> None:
    other = {"widths": (2,), "rounds": 1, "temperature": 1.2}
    found = [
        settings
        for settings in islice(neighbours([BEGIN, other], SPACE, random.Random(1)), 400)
        if settings["widths"] == (2,) and settings["rounds"] == 8
    ]
    assert found, "half of the one and half of the other"


@pytest.mark.parametrize("interval", SPACE.dimensions[1:])
def test_places_of_an_interval_are_turned_back_into_its_values(interval: Interval) -> None:
    assert (interval.at(0.0), interval.at(1.0)) == (interval.low, interval.high)
    assert interval.place(interval.low) == 0.0
    for place in (0.0, 0.25, 0.5, 0.75, 1.0):
        value = interval.at(place)
        assert interval.at(interval.place(value)) == pytest.approx(value)
