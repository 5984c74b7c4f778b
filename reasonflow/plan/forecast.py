"""What a plan would take of a budget if every call wrote as much as one level allows: the ground on which caps stand.

The level is a water line. At level L a call may write `L × weight` tokens, never more than its own cap and never less
than its floor. Where not all branches have room at their floors some are left out, of all forks the same share. Texts
of branches that a later prompt reads count with a floor only: they are cut where they do not fit, while a single text
is read whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from reasonflow.plan.nodes import (
    PURE,
    Answer,
    Call,
    Const,
    Each,
    Fork,
    Generate,
    Get,
    Input,
    Loop,
    Node,
    Pack,
    Plan,
    Race,
    Select,
    Site,
    When,
    Within,
    behind,
)

READ_FLOOR = 64
"""Tokens of each branch that a prompt reads at least: the end, where the answer stands."""

_STEP = 1.05
"""Levels of tokens are this factor apart: finer ones would change caps by less than a sentence."""
_LEAST = 16.0
_SHARES = 32
"""Steps between all branches and the fewest."""
_NO_WINDOW = 1 << 17


@dataclass(frozen=True, slots=True, order=True)
class Level:
    """How far calls may go. Ordered: more branches first, then more tokens."""

    share: float = 1.0
    """Of the branches of every fork."""
    tokens: float = 0.0
    """Output tokens of a call of weight 1."""


@dataclass(frozen=True, slots=True)
class Size:
    """How long a value is as text: `count` texts of `tokens` each; a nest has parts instead."""

    tokens: float = 0.0
    count: float = 1.0
    parts: tuple[tuple[str | int, Size], ...] = ()

    @property
    def read(self) -> float:
        """Tokens a prompt that holds it has at least."""
        if self.parts:
            return sum(size.read for _, size in self.parts)
        return self.count * min(self.tokens, READ_FLOOR) if self.count > 1 else self.count * self.tokens

    def widest(self, other: Size) -> Size:
        """As long as the longer of the two, part by part."""
        if self.parts and len(self.parts) == len(other.parts):
            pairs = zip(self.parts, other.parts, strict=True)
            return Size(parts=tuple((key, mine.widest(theirs)) for (key, mine), (_, theirs) in pairs))
        return self if (self.count, self.tokens) >= (other.count, other.tokens) else other


@dataclass(frozen=True, slots=True)
class Demand:
    """Tokens and calls."""

    input: float = 0.0
    output: float = 0.0
    calls: float = 0.0

    @property
    def total(self) -> float:
        return self.input + self.output

    def __add__(self, other: Demand) -> Demand:
        return Demand(self.input + other.input, self.output + other.output, self.calls + other.calls)

    def __mul__(self, factor: float) -> Demand:
        return Demand(self.input * factor, self.output * factor, self.calls * factor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What a forecast must know about prompts and engines; the defaults stand for an unknown model."""

    template_tokens: Callable[[Site], int] = lambda site: 0
    """Tokens of a site's prompt without its inputs."""
    max_tokens: Callable[[Site], int | None] = lambda site: site.sampling.max_tokens
    """The site's own cap."""
    window: int | None = None


def cap_of(site: Site, tokens: float, own_cap: int | None) -> int:
    """Output tokens a call may write at a level of so many tokens."""
    allowed = max(site.floor_tokens, int(tokens * site.weight))
    return allowed if own_cap is None else min(allowed, own_cap)


def width_of(op: Generate | Fork | Each, full: int, share: float) -> int:
    """Branches of a fork `full` wide that a share of them leaves: at least `min_branches`, and one."""
    return min(full, max(op.min_branches or 1, math.ceil(full * share - 1e-9)))


@dataclass(slots=True)
class PlanForecast:
    """One plan at one level. All lists by position."""

    plan: Plan
    demand: list[Demand]
    """Of each node, its bodies included."""
    after: list[float]
    """Sequential tokens from each node's end to the plan's end, along the longest way."""
    total: Demand
    length: float
    """Sequential tokens along the longest way."""
    size: Size
    """Of what the plan gives."""


class Forecast:
    """A whole program at one level; `of` holds every plan in it, bodies too, by identity."""

    def __init__(self, plan: Plan, inputs: Sequence[Size], costs: Costs, level: Level) -> None:
        self.level = level
        self.of: dict[int, PlanForecast] = {}
        self._costs = costs
        self.root = self._plan(plan, inputs)

    def _plan(self, plan: Plan, inputs: Sequence[Size]) -> PlanForecast:
        given = dict(zip(plan.inputs, inputs, strict=True))
        wanted = _wanted(plan)
        sizes: list[Size] = []
        demand: list[Demand] = []
        own: list[float] = []
        for position, node in enumerate(plan.nodes):
            if position in given:
                size, takes, length = given[position], Demand(), 0.0
            elif not wanted[position]:
                size, takes, length = Size(), Demand(), 0.0
            else:
                size, takes, length = self._node(node, [sizes[arg] for arg in node.args])
            sizes.append(size)
            demand.append(takes)
            own.append(length)
        after = [0.0] * len(plan.nodes)
        for position in range(len(plan.nodes) - 1, -1, -1):
            if wanted[position]:
                node, rest = plan.nodes[position], own[position] + after[position]
                for arg in node.args:
                    after[arg] = max(after[arg], rest)
                if isinstance(node.op, When):
                    after[node.args[0]] = max(after[node.args[0]], behind(plan, position, own) + rest)
        found = PlanForecast(
            plan=plan,
            demand=demand,
            after=after,
            total=sum(demand, Demand()),
            length=max((length + rest for length, rest in zip(own, after, strict=True)), default=0.0),
            size=sizes[plan.output],
        )
        self.of[id(plan)] = found
        return found

    def _node(self, node: Node, args: list[Size]) -> tuple[Size, Demand, float]:
        """(size of what it gives, what it takes in all, its own sequential tokens)"""
        match node.op:
            case Generate():
                return self._generate(node.op, args)
            case Fork(n=n, body=body):
                inner = self._plan(body, [Size(), *args])
                return self._branches(inner, width_of(node.op, n, self.level.share))
            case Each(cap=cap, body=body):
                items = args[0]
                item, width, found = replace(items, count=1), width_of(node.op, cap, self.level.share), Size()
                inner = self._plan(body, [*node.op.handed(item, Size(), found), *args[1:]])
                if node.op.needs is not None:  # a branch may read what all others gave
                    found = replace(inner.size, count=inner.size.count * (width - 1))
                    inner = self._plan(body, [*node.op.handed(item, Size(), found), *args[1:]])
                size, demand, length = self._branches(inner, width)
                return size, demand, length * min(node.op.chain, width)
            case Loop(body=body, max_rounds=rounds):
                inner = self._plan(body, args)
                if rounds > 1:  # later rounds read what the body gave
                    inner = self._plan(body, [args[0].widest(inner.size), *args[1:]])
                return inner.size.widest(args[0]), inner.total * rounds, inner.length * rounds
            case When(then=then, otherwise=otherwise, split=split):
                sides = [self._plan(then, args[1:split]), self._plan(otherwise, args[split:])]
                dearer = max(sides, key=lambda side: side.total.total)
                return sides[0].size.widest(sides[1].size), dearer.total, max(side.length for side in sides)
            case Race(bodies=bodies):
                racers = [self._plan(body, given) for body, given in zip(bodies, node.op.captured(args), strict=True)]
                size = racers[0].size
                for racer in racers[1:]:
                    size = size.widest(racer.size)
                return size, sum((racer.total for racer in racers), Demand()), max(racer.length for racer in racers)
            case Within(body=body):
                inner = self._plan(body, args)
                return inner.size, inner.total, inner.length
            case _:
                return _pure_size(node, args), Demand(), 0.0

    def _generate(self, op: Generate, args: list[Size]) -> tuple[Size, Demand, float]:
        site = op.site
        output = cap_of(site, self.level.tokens, self._costs.max_tokens(site))
        prompt = self._costs.template_tokens(site) + sum(size.read for size in op.reads(args).values())
        if self._costs.window is not None:
            prompt = min(prompt, self._costs.window - 1)
            output = max(1, min(output, int(self._costs.window - prompt)))
        flows = output if site.solution_tokens is None else min(output, site.solution_tokens)
        if op.n is None:
            return Size(flows), Demand(prompt, output, 1), prompt + output
        width = width_of(op, op.n, self.level.share)
        drawn = 1 if site.sampling.temperature == 0 else width
        return Size(flows, width), Demand(prompt, output, 1) * drawn, prompt + output

    def _branches(self, inner: PlanForecast, width: int) -> tuple[Size, Demand, float]:
        return replace(inner.size, count=inner.size.count * width), inner.total * width, inner.length


@lru_cache(maxsize=256)
def answering(plan: Plan) -> frozenset[int]:
    """Positions of the steps behind which an answer comes for free: a run may end with them if it must."""
    found: set[int] = set()
    for node in plan.nodes:
        if isinstance(node.op, Answer):
            stack = list(node.args)
            while stack:
                position = stack.pop()
                op = plan.nodes[position].op
                if isinstance(op, PURE) or (isinstance(op, Call) and not op.cap):
                    stack.extend(plan.nodes[position].args)
                else:
                    found.add(position)
    return frozenset(found)


class Levels:
    """The levels worth telling apart, for one plan."""

    def __init__(self, plan: Plan, costs: Costs) -> None:
        sites = [node.op.site for node in plan.walk() if isinstance(node.op, Generate)]
        caps = [costs.max_tokens(site) or costs.window or _NO_WINDOW for site in sites]
        most = max((cap / site.weight for cap, site in zip(caps, sites, strict=True)), default=_LEAST)
        self._tokens = [0.0]
        step = _LEAST
        while step < most:
            self._tokens.append(step)
            step *= _STEP
        self._tokens.append(most)
        self._shares = [share / _SHARES for share in range(1, _SHARES + 1)]

    @property
    def top(self) -> Level:
        """Every call has its own cap."""
        return Level(self._shares[-1], self._tokens[-1])

    @property
    def bottom(self) -> Level:
        """Every call has its floor, every fork its fewest branches."""
        return Level(self._shares[0], self._tokens[0])

    def highest(self, fits: Callable[[Level], bool]) -> Level | None:
        """The highest level that fits: as many branches as have room at their floors, then as many tokens for those.

        fits: true of every level that has fewer of both than one that fits.
        """
        if not fits(self.bottom):
            return None
        share = _last(self._shares, lambda share: fits(Level(share, self._tokens[0])))
        return Level(share, _last(self._tokens, lambda tokens: fits(Level(share, tokens))))


def _last(items: Sequence[float], fits: Callable[[float], bool]) -> float:
    """The last of the ascending items that fits; the first one does."""
    low, high = 0, len(items) - 1
    if fits(items[high]):
        return items[high]
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(items[middle]) else (low, middle)
    return items[low]


def _wanted(plan: Plan) -> list[bool]:
    """Which nodes the output or an effect can need."""
    wanted = [isinstance(node.op, Call) and node.op.effects for node in plan.nodes]
    if plan.nodes:
        wanted[plan.output] = True
    for position in range(len(plan.nodes) - 1, -1, -1):
        if wanted[position]:
            for arg in plan.nodes[position].args:
                wanted[arg] = True
    return wanted


def _pure_size(node: Node, args: list[Size]) -> Size:
    match node.op:
        case Const(value):
            return _constant(value)
        case Input():
            return Size()
        case Get(key):
            return _got(args[0], key)
        case Pack(keys, kind):
            if kind == "list":
                return Size(max((size.tokens for size in args), default=0.0), sum(size.count for size in args))
            return Size(parts=tuple(zip(keys, args, strict=True)))
        case Select(k=k, single=single):
            return replace(args[0], count=1 if single else min(k, args[0].count))
        case Call():  # a guess: what a function makes of texts is about as long as the longest of them
            return Size(max((size.tokens for size in args), default=0.0))
        case Answer():
            return args[0]
        case _:  # Vote, Quorum: one of the items
            return replace(args[0], count=1)


def _got(size: Size, key: str | int | tuple[int | None, int | None, int | None]) -> Size:
    for name, part in size.parts:
        if name == key:
            return part
    if isinstance(key, int):
        return replace(size, count=1)
    if isinstance(key, tuple):
        return replace(size, count=len(range(*slice(*key).indices(int(size.count)))))
    return size


def _constant(value: Any) -> Size:
    """Four characters a token: the usual length of an English one."""
    if isinstance(value, str):
        return Size(len(value) / 4)
    if isinstance(value, (list, tuple)) and value:
        return Size(max(len(str(item)) for item in value) / 4, len(value))
    return Size()
