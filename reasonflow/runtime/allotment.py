"""How much one call may write and read, set when it is ready: the highest level at which the rest of the run fits.

What is known by then counts as it is: the rendered prompt, the way to here, what others have reserved. What is still to
come counts as forecast at the same level, so that no call lives at the expense of those after it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from reasonflow.plan.forecast import Costs, Demand, Forecast, Level, Levels, Size, answering, cap_of, width_of
from reasonflow.plan.nodes import Each, Fork, Generate, Plan
from reasonflow.runtime.frames import Frame
from reasonflow.runtime.price import Price
from reasonflow.runtime.values import Cost

_KNOWN = 64
"""Forecasts kept: a search asks for a dozen levels, and the next search for nearly the same ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A call that is ready."""

    op: Generate
    before: Cost
    prompt: Callable[[float], int]
    """Tokens of its prompt when it reads at most so many tokens of each branch."""
    own_cap: int | None
    """What its sampling settings and the window allow it to write."""
    width: int
    """Samples it still draws at most."""
    least: int
    """The fewest samples it can do with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allotment:
    """What a call gets."""

    level: Level
    cap: int
    """Output tokens of each sample."""
    width: int
    """Samples; none where there is no room for the fewest."""
    complete: bool
    """More budget would not make it more."""
    spendable: bool
    """A settlement of calls under way could make it more: what limits it is no sequential budget."""


class Allotter:
    """Sets the caps of one run. One loop's object."""

    def __init__(self, plan: Plan, inputs: Callable[[], Sequence[Size]], costs: Costs, price: Price) -> None:
        """inputs: gives the sizes of the run's inputs; asked once, and only where there is a budget."""
        self._plan = plan
        self._sizes = inputs
        self._costs = costs
        self._price = price
        self._forecasts: dict[Level, Forecast] = {}

    @cached_property
    def _levels(self) -> Levels:
        return Levels(self._plan, self._costs)

    @cached_property
    def _inputs(self) -> Sequence[Size]:
        return self._sizes()

    def call(self, ask: Ask, frame: Frame, position: int) -> Allotment:
        """What the call at this position gets now: nothing where it does not fit even with the fewest branches.

        Where the rest of the plan cannot follow any more, a call that brings an answer may still have what is left.
        """

        def highest(*, shared: bool, last: bool = False) -> Level | None:
            return self._levels.highest(lambda level: self._fits(ask, frame, position, level, shared=shared, last=last))

        last = False
        level, path = highest(shared=True), highest(shared=False)
        spendable = path is not None and (level is None or level < path)
        if level is None and position in answering(frame.plan):
            last = True
            level, path = highest(shared=True, last=True), path or highest(shared=False, last=True)
            spendable = spendable or (path is not None and (level is None or level < path))
        if level is None:
            return Allotment(level=self._levels.bottom, cap=0, width=0, complete=False, spendable=spendable)
        width = self._width(ask, level)
        return Allotment(
            level=level,
            cap=cap_of(ask.op.site, level.tokens, ask.own_cap),
            width=width,
            complete=not last and width == ask.width and level == self._levels.top,
            spendable=spendable,
        )

    def branches(self, op: Fork | Each, full: int, frame: Frame, position: int) -> int:
        """Branches a fork may start now, at least `min_branches` and one: its calls are allotted one by one later."""
        return width_of(op, full, self.planned(frame, position).share)

    def planned(self, frame: Frame, position: int | None = None) -> Level:
        """The level at which all that is still to come in this frame's scopes fits; the lowest where none does.

        position: of a node that has just begun and counts too.
        """
        found = self._levels.highest(lambda level: self._rest_fits(frame, level, position))
        return found or self._levels.bottom

    def at(self, level: Level) -> Forecast:
        """The whole plan at one level."""
        found = self._forecasts.get(level)
        if found is None:
            if len(self._forecasts) >= _KNOWN:
                self._forecasts.clear()
            found = self._forecasts[level] = Forecast(self._plan, self._inputs, self._costs, level)
        return found

    def _width(self, ask: Ask, level: Level) -> int:
        if ask.op.n is None or level.share == 1.0:
            return ask.width
        return max(ask.least, min(ask.width, width_of(ask.op, ask.op.n, level.share)))

    def _fits(self, ask: Ask, frame: Frame, position: int, level: Level, *, shared: bool, last: bool) -> bool:
        """Whether the call and all after it fit.

        shared: asks of budgets that calls side by side share, too. last: nothing comes after it.
        """
        forecast = self.at(level)
        prompt = ask.prompt(level.tokens)
        cap, width = cap_of(ask.op.site, level.tokens, ask.own_cap), self._width(ask, level)
        drawn = min(width, 1) if ask.op.site.sampling.temperature == 0 else width
        takes = Demand(prompt, cap, 1) * drawn
        way: float = prompt + cap
        for here, at in frame.upwards(position):
            way += 0 if last else here.after(at, forecast)
            if here.outermost:
                if way > here.scope.sequential_room(ask.before):
                    return False
                if shared and not self._has_room(here, takes if last else here.remaining(forecast) + takes):
                    return False
        return True

    def _rest_fits(self, frame: Frame, level: Level, position: int | None) -> bool:
        forecast = self.at(level)
        takes = Demand() if position is None else forecast.of[id(frame.plan)].demand[position]
        frames = (here for here, _ in frame.upwards(0) if here.outermost)
        return all(self._has_room(here, here.remaining(forecast) + takes) for here in frames)

    def _has_room(self, frame: Frame, takes: Demand) -> bool:
        """Whether the budget of a frame's scope holds so much."""
        ledger = frame.scope.ledger
        if ledger is None:
            return True
        dollars = takes.input * self._price.input_token + takes.output * self._price.output_token
        needed = {"total": takes.total, "calls": takes.calls, "dollars": dollars}
        return all(amount <= ledger.room(name) for name, amount in needed.items() if ledger.limits(name))
