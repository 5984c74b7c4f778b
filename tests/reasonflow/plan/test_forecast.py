"""Forecasts of small plans, against numbers counted by hand: 10 tokens of template, 5 of input, caps of 100."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import reasonflow as rf
from reasonflow.language.program import trace
from reasonflow.plan.forecast import Costs, Demand, Forecast, Level, Levels, Size, width_of
from reasonflow.plan.nodes import Fork, Generate, Plan

COSTS = Costs(template_tokens=lambda site: 10, max_tokens=lambda site: 100)
HALF, FIFTY = Level(0.5, 0.0), Level(1.0, 50.0)


class Made(rf.Program):
    """A program given as a function of itself and its input."""

    def __init__(self, make: Callable[[Any, Any], Any]) -> None:
        self.solve = rf.Generate("problem -> answer", floor_tokens=20, temperature=0.7)
        self.heavy = rf.Generate("problem -> answer", floor_tokens=20, weight=3.0)
        self.brief = rf.Generate("problem -> answer", floor_tokens=20, solution_tokens=16)
        self.greedy = rf.Generate("problem -> answer", floor_tokens=20, temperature=0.0)
        self.read = rf.Generate("problem, drafts -> answer", floor_tokens=20)
        self.make = make

    def plan(self, problem: Any) -> Any:
        return {"value": self.make(self, problem)}


def plan_of(make: Callable[[Any, Any], Any]) -> Plan:
    return trace(Made(make)).plan


def forecast(make: Callable[[Any, Any], Any], level: Level = FIFTY) -> Forecast:
    return Forecast(plan_of(make), [Size(5)], COSTS, level)


@pytest.mark.parametrize(
    ("make", "level", "demand", "length"),
    [
        (lambda s, p: s.solve(problem=p), Level(1, 50), Demand(15, 50, 1), 65),
        (lambda s, p: s.solve(problem=p), Level(1, 0), Demand(15, 20, 1), 35),  # its floor
        (lambda s, p: s.heavy(problem=p), Level(1, 25), Demand(15, 75, 1), 90),  # three times its level
        (lambda s, p: s.heavy(problem=p), Level(1, 50), Demand(15, 100, 1), 115),  # its own cap
        (lambda s, p: s.solve(problem=p, n=4), Level(1, 50), Demand(60, 200, 4), 65),
        (lambda s, p: s.solve(problem=p, n=4), HALF, Demand(30, 40, 2), 35),
        (lambda s, p: s.solve(problem=p, n=4, min_branches=3), HALF, Demand(45, 60, 3), 35),
        (lambda s, p: s.greedy(problem=p, n=4), Level(1, 50), Demand(15, 50, 1), 65),  # all the same: drawn once
        # a single text is read whole: 10 + 5 + 50
        (lambda s, p: s.read(problem=p, drafts=s.solve(problem=p).text), Level(1, 50), Demand(80, 100, 2), 180),
        # of what one may see at most
        (lambda s, p: s.read(problem=p, drafts=s.brief(problem=p).text), Level(1, 50), Demand(46, 100, 2), 146),
        # of many texts as much as a prompt reads at least: 10 + 5 + 4 × 64
        (lambda s, p: s.read(problem=p, drafts=s.solve(problem=p, n=4)), Level(1, 80), Demand(331, 400, 5), 446),
        (lambda s, p: rf.fork(3, lambda: s.solve(problem=p).answer), Level(1, 50), Demand(45, 150, 3), 65),
        # the first round reads 5 tokens, a later one may read 50: counted as if all did
        (lambda s, p: rf.loop(lambda x: s.solve(problem=x).answer, p, max_rounds=3), Level(1, 50),
         Demand(180, 150, 3), 330),
        (lambda s, p: rf.race(lambda: s.solve(problem=p), lambda: s.heavy(problem=p)), Level(1, 20),
         Demand(30, 80, 2), 75),
        (lambda s, p: rf.when(rf.call(len, p), lambda: s.solve(problem=p), lambda: s.heavy(problem=p)),
         Level(1, 20), Demand(15, 60, 1), 75),
        (lambda s, p: rf.within(rf.Budget(calls=1), lambda: s.solve(problem=p)), Level(1, 50), Demand(15, 50, 1), 65),
        (lambda s, p: rf.each(rf.call(str, p), lambda i: s.solve(problem=i), cap=4), HALF, Demand(30, 40, 2), 35),
    ],
)  # fmt: skip
def test_what_a_plan_takes_at_a_level(
    make: Callable[[Any, Any], Any], level: Level, demand: Demand, length: float
) -> None:
    found = forecast(make, level).root
    assert found.total == demand
    assert found.length == length


def test_what_nobody_reads_costs_nothing() -> None:
    def unread(s: Any, p: Any) -> Any:
        s.solve(problem=p, n=8)
        return s.solve(problem=p)

    assert forecast(unread).root.total == Demand(15, 50, 1)


def test_what_comes_after_a_step_is_the_longest_way_to_the_end() -> None:
    def chain(s: Any, p: Any) -> Any:
        first = s.solve(problem=p)
        s.read(problem=p, drafts=first.text)
        return s.read(problem=p, drafts=s.read(problem=p, drafts=first.text).text)

    found = forecast(chain)
    after = {node.name: rest for node, rest in zip(found.root.plan.nodes, found.root.after, strict=True)}
    assert after["solve"] == 2 * (10 + 5 + 50 + 50)
    assert after["read#2"] == 115
    assert after["read#3"] == 0


def test_a_window_bounds_what_a_call_reads_and_writes() -> None:
    costs = Costs(template_tokens=lambda site: 10, max_tokens=lambda site: None, window=40)
    found = Forecast(plan_of(lambda s, p: s.solve(problem=p)), [Size(5)], costs, Level(1, 500)).root
    assert found.total == Demand(15, 25, 1)


def test_a_share_leaves_at_least_the_fewest_branches() -> None:
    (fork,) = [node.op for node in plan_of(lambda s, p: rf.fork(8, lambda: s.solve(problem=p))).nodes
               if isinstance(node.op, Fork)]  # fmt: skip
    assert [width_of(fork, 8, share) for share in (1.0, 0.5, 0.3, 1 / 32)] == [8, 4, 3, 1]


def test_the_highest_level_keeps_branches_before_tokens() -> None:
    plan = plan_of(lambda s, p: s.solve(problem=p, n=4))
    levels = Levels(plan, COSTS)

    def fits(total: float) -> Callable[[Level], bool]:
        return lambda level: Forecast(plan, [Size(5)], COSTS, level).root.total.total <= total

    assert levels.highest(fits(1e9)) == levels.top
    at_floors = levels.highest(fits(4 * 35))
    assert at_floors is not None
    assert (at_floors.share, width(plan, at_floors)) == (1.0, 4)
    assert width(plan, levels.highest(fits(2 * 35))) == 2
    assert levels.highest(fits(34)) is None


def test_fewer_branches_for_want_of_calls_keep_their_tokens() -> None:
    plan = plan_of(lambda s, p: s.solve(problem=p, n=4))
    levels = Levels(plan, COSTS)
    level = levels.highest(lambda level: Forecast(plan, [Size(5)], COSTS, level).root.total.calls <= 2)
    assert width(plan, level) == 2
    assert level is not None
    assert level.tokens == levels.top.tokens


def width(plan: Plan, level: Level | None) -> int:
    assert level is not None
    (op,) = [node.op for node in plan.nodes if isinstance(node.op, Generate)]
    return width_of(op, 4, level.share)
