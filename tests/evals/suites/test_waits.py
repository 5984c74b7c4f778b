"""Tools that take their time, who calls them, and the law of latency."""

from __future__ import annotations

from statistics import median

import pytest

import reasonflow as rf
from reasonflow.evals.suites import waits
from reasonflow.evals.suites.latency_law import Timed, law_of
from reasonflow.evals.suites.tool_agent import agent_of
from reasonflow.evals.suites.waits import Waits, slow
from reasonflow.evals.suites.witness import Witness
from reasonflow.evals.tasks.tools import TOOLS, look_up


def test_the_same_call_takes_the_same_time_and_others_take_others() -> None:
    found = Waits(0.15, seed=1)
    calls = [{"item": "red cups", "house": house} for house in range(400)]
    seconds = [found.of("look_up", call) for call in calls]
    assert seconds == [found.of("look_up", dict(reversed(call.items()))) for call in calls]
    assert len(set(seconds)) == len(seconds)
    assert seconds[0] != Waits(0.15, seed=2).of("look_up", calls[0])
    assert median(seconds) == pytest.approx(0.15, rel=0.1)
    assert Waits(0.0, seed=1).of("look_up", calls[0]) == 0.0


def test_a_slow_tool_waits_and_gives_what_the_tool_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(waits, "sleep", slept.append)
    call = {"item": "red cups", "house": 1234}
    assert slow(look_up, Waits(0.15, 1))(**call) == look_up(**call)
    assert slept == [Waits(0.15, 1).of("look_up", call)]
    slow(look_up, Waits(0.0, 1))(**call)
    assert len(slept) == 1


def test_agents_are_shown_the_tools_they_were_trained_with() -> None:
    lm = rf.scripted("unused")
    watched = [Witness(slow(tool, Waits(0.15, 1))).tool for tool in TOOLS]
    assert agent_of(watched, lm).react.signature.instructions == agent_of(TOOLS, lm).react.signature.instructions


def test_a_call_that_no_guess_has_started_is_counted_so() -> None:
    witness = Witness(look_up)
    witness.tool(item="red cups", house=1234)
    assert witness.take() == (0, 1)
    assert witness.take() == (0, 0)


def test_the_law_is_that_of_the_paper() -> None:
    law = law_of(
        [
            Timed(agent_s=2.0, judge_s=0.1, small_s=0.2, accepted=True),
            Timed(agent_s=2.0, judge_s=0.1, small_s=0.4, accepted=False),
            Timed(agent_s=4.0, judge_s=0.1, small_s=None, accepted=False),
            Timed(agent_s=4.0, judge_s=0.1, small_s=None, accepted=False),
        ]
    )
    assert (law.beta, law.alpha) == (0.5, 0.5)
    assert law.latency == pytest.approx(0.1 + 0.5 * 0.3 + 0.75 * 3.0)
    assert law.latency_of_fallen == pytest.approx(0.1 + 0.5 * 0.3 + 0.75 * 10 / 3)


def test_a_law_of_tasks_that_all_pass_has_no_agent_in_it() -> None:
    law = law_of([Timed(agent_s=2.0, judge_s=0.1, small_s=0.2, accepted=True)])
    assert law.latency_of_fallen == law.latency == pytest.approx(0.3)


def test_a_law_of_nothing_says_nothing() -> None:
    assert law_of([]).latency is None
    assert law_of([Timed(agent_s=2.0, judge_s=None, small_s=None, accepted=False)]).latency is None
