"""The search: what it proposes follows from seed and history, and it proposes nothing twice."""

from __future__ import annotations

import random

import reasonflow as rf
from reasonflow.optimizers.topology.search import History, Told, TopologySearch, Trial, Values
from reasonflow.optimizers.topology.space import Interval, Options, Space, space_of, spell

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
