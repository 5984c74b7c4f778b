"""The search: what it proposes follows from seed and history, and it proposes nothing twice."""

from __future__ import annotations

import random
from typing import Any

import reasonflow as rf
from reasonflow.optimizers.topology.search import History, Told, TopologySearch, Trial, Values
from reasonflow.optimizers.topology.space import Interval, Options, Settings, Space, space_of, spell

SPACE = Space(
    (
        Options(name="widths", values=((8, 4), (4,), (2,))),
        Interval(name="rounds", low=1, high=4, log=False, whole=True),
    )
)
WIDE = Space((Interval(name="temperature", low=0.0, high=1.0, log=False, whole=False),))


def told(trial: Trial) -> Told:
    if "temperature" in trial.settings:
        heat = trial.settings["temperature"]
        return Told(trial, Values(1 - abs(heat - 0.7), 100, 100))
    width, rounds = sum(trial.settings["widths"]), trial.settings["rounds"]
    return Told(trial, Values(width * rounds / 50, 10.0 * rounds, 10.0 * rounds * width))


def searched(space: Space, count: int, seed: int = 0) -> tuple[TopologySearch, History]:
    search, history = TopologySearch(space, seed=seed), ()
    for _ in range(count):
        trial = search.ask(history, lambda settings: True)
        if trial is None:
            break
        history = search.tell(history, told(trial))
    return search, history


def test_a_small_space_is_tried_whole_and_nothing_twice() -> None:
    _, history = searched(SPACE, 100)
    assert len(history) == SPACE.size == 12
    assert len({spell(one.trial.settings) for one in history}) == 12


def test_the_same_history_is_followed_by_the_same_trial() -> None:
    first, history = searched(WIDE, 9, seed=3)
    again = TopologySearch(WIDE, seed=3)
    assert again.ask(history, lambda settings: True) == first.ask(history, lambda settings: True)
    assert again.ask(history[:4], lambda settings: True) == history[4].trial
    assert searched(WIDE, 9, seed=4)[1] != history


def test_telling_twice_equals_telling_once_in_any_order() -> None:
    search, history = searched(SPACE, 6)
    shuffled = [*history, *history[:3]]
    random.Random(1).shuffle(shuffled)
    found: History = ()
    for one in shuffled:
        found = search.tell(found, one)
    assert found == history


def test_it_learns_where_good_settings_are() -> None:
    _, history = searched(WIDE, 30)
    early = [abs(one.trial.settings["temperature"] - 0.7) for one in history[:6]]
    late = [abs(one.trial.settings["temperature"] - 0.7) for one in history[-12:]]
    assert sum(late) / 12 < sum(early) / 6


def test_only_what_is_allowed_is_proposed_and_first_comes_first() -> None:
    start = {"widths": (4,), "rounds": 4}
    search = TopologySearch(SPACE, first=[start])
    assert search.ask((), lambda settings: True) == Trial(0, start)
    trial = search.ask((), lambda settings: settings["widths"] == (2,) and settings["rounds"] == 3)
    assert trial is not None
    assert trial.settings == {"widths": (2,), "rounds": 3}
    assert search.ask((), lambda settings: False) is None


def test_refused_settings_do_not_come_again() -> None:
    search = TopologySearch(SPACE)
    trial = search.ask((), lambda settings: True)
    assert trial is not None
    history = search.tell((), Told(trial, None))
    following = search.ask(history, lambda settings: True)
    assert following is not None
    assert following.number == 1
    assert following.settings != trial.settings


def test_the_space_of_a_program_is_what_it_leaves_open() -> None:
    class Two(rf.Program):
        def __init__(self) -> None:
            self.inner = rf.SelfConsistency(n=rf.Choice(4, options=[2, 4]))
            self.fixed = rf.Choice(3)
            self.heat = rf.Range(0.5, 0.1, 2.0, log=True)

    space = space_of(Two())
    assert [dimension.name for dimension in space.dimensions] == ["inner.n", "heat"]
    assert space.size == float("inf")


LONG = Space(
    (
        Options(name="widths", values=tuple((width,) for width in range(1, 33))),
        Options(name="distiller", values=("a", "b", "c")),
    )
)


def cost(settings: Settings) -> float | None:
    return None if settings["distiller"] == "c" else float(settings["widths"][0])


def asked(count: int, first: Settings, seed: int = 0, **options: Any) -> list[Settings]:
    search, history, found = TopologySearch(LONG, seed=seed, first=[first]), (), []
    for _ in range(count):
        trial = search.ask(history, lambda settings: True, **options)
        assert trial is not None
        found.append(trial.settings)
        history = search.tell(history, Told(trial, Values(0.5, 10.0, 10.0)))  # nothing but the cost tells them apart
    return found


def test_the_cheap_end_and_the_middle_are_tried_behind_the_programs_own_setting() -> None:
    own = {"widths": (8,), "distiller": "a"}
    first, cheapest, middle = asked(3, own, cost=cost)
    assert first == own
    assert cheapest["widths"] == (1,)
    assert 9 <= middle["widths"][0] <= 13


def test_cheap_settings_are_tried_more_often_and_impossible_ones_last() -> None:
    own = {"widths": (8,), "distiller": "a"}
    priced, blind = [], []
    for seed in range(3):
        priced += [found["widths"][0] for found in asked(16, own, seed, cost=cost)]
        blind += [found["widths"][0] for found in asked(16, own, seed)]
        assert all(found["distiller"] != "c" for found in asked(16, own, seed, cost=cost))
    assert sum(priced) < 0.9 * sum(blind)


def test_what_promises_most_is_tried_early() -> None:
    """One distiller is good and the other bad, whatever the width: after a few trials the good one is preferred."""
    search, history = TopologySearch(LONG, seed=0, first=[{"widths": (8,), "distiller": "a"}]), ()
    for _ in range(24):
        trial = search.ask(history, lambda settings: True, cost)
        assert trial is not None
        width, kind = trial.settings["widths"][0], trial.settings["distiller"]
        accuracy = (0.8 if kind == "a" else 0.3) + width / 200
        history = search.tell(history, Told(trial, Values(accuracy, 100.0 + width, 100.0 * width)))
    kinds = [told.trial.settings["distiller"] for told in history[8:]]
    assert kinds.count("a") > 2 * kinds.count("b")


def test_in_a_large_space_cheap_settings_come_more_often() -> None:
    wide = Space((*LONG.dimensions, Interval(name="temperature", low=0.1, high=2.0, log=True, whole=False)))
    widths: dict[bool, list[int]] = {True: [], False: []}
    for priced in (True, False):
        search, history = TopologySearch(wide, seed=1), ()
        for _ in range(24):
            trial = search.ask(history, lambda settings: True, *([cost] if priced else []))
            assert trial is not None
            assert 0.1 <= trial.settings["temperature"] <= 2.0
            assert not priced or trial.settings["distiller"] != "c"
            widths[priced].append(trial.settings["widths"][0])
            history = search.tell(history, Told(trial, Values(0.5, 10.0, 10.0)))
    assert sum(widths[True]) < sum(widths[False])
