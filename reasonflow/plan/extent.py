"""The least and the most that a plan takes for inputs that are known: what an estimate stands on.

As `bounds`, with the actual inputs: a prompt that reads nothing but them is as long as it is, and a prompt that reads
what a model or a function gives counts with the whole window. The most is never exceeded. The least is what a run takes
that nothing fails in and no budget cuts: one output token a call, no further round of a loop, the cheaper side of a
`when`, the fewest items of an `each`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from reasonflow.plan.budget import Budget
from reasonflow.plan.nodes import (
    PURE,
    Answer,
    Call,
    Const,
    Each,
    Fork,
    Generate,
    Get,
    Loop,
    Node,
    Op,
    Pack,
    Plan,
    Quorum,
    Race,
    When,
    Within,
    behind,
)
from reasonflow.plan.same import same

_SEPARATE = 64
"""Branches looked at one by one where they read their number; of more all count as if it were unknown."""


class _Unknown:
    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = _Unknown()
"""Stands for what only a run computes; also inside lists, tuples and dicts."""


def known(value: Any) -> bool:
    """Whether nothing in it is unknown."""
    if isinstance(value, dict):
        return all(map(known, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(known, value))
    return value is not UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompted:
    """One model call before it is made."""

    prompt: int | None
    """Tokens of its prompt; None where it reads what is not known yet."""
    template: int
    """Tokens of the prompt without its inputs."""
    cap: int | None
    """Tokens it writes at most."""
    window: int | None
    input_price: float = 0.0
    """Dollars a token."""
    output_price: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Takes:
    """An amount of everything; infinite where nothing bounds it."""

    calls: float = 0.0
    input: float = 0.0
    output: float = 0.0
    total: float = 0.0
    sequential: float = 0.0
    """Along the longest path."""
    dollars: float = 0.0

    def times(self, count: int) -> Takes:
        """So many of it beside each other."""
        sums = {name: getattr(self, name) * count if count else 0.0 for name in _SUMS}
        return Takes(**sums, sequential=self.sequential)

    def repeated(self, count: int) -> Takes:
        """So many of it one after the other."""
        return replace(self.times(count), sequential=self.sequential * count if count else 0.0)

    def then(self, other: Takes) -> Takes:
        """The other one after it."""
        return _joined([self, other], sum)


_SUMS = ("calls", "input", "output", "total", "dollars")
NOTHING = Takes()


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The calls of one step."""

    node: str
    site: str
    calls: float
    """At most."""
    prompt: int | None
    input_price: float
    output_price: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """Of a plan, or of a part of one."""

    least: Takes = NOTHING
    most: Takes = NOTHING
    asked: tuple[Asked, ...] = ()
    value: Any = UNKNOWN
    """What it gives, as far as that is known."""
    ways: tuple[float, ...] = ()
    """Of a list that must be whole: sequential tokens of each branch at least, the shortest first."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads plans."""

    ask: Callable[[Generate, Sequence[Any]], Prompted]
    """What is known of a call, from its step and the values of its fields."""
    window: int | None = None
    """Of the engine that the calls inside functions go to."""

    def plan(self, plan: Plan, inputs: Sequence[Any]) -> Extent:
        """The extent of `plan` for these inputs."""
        given = dict(zip(plan.inputs, inputs, strict=True))
        own: list[Extent] = []
        for position, node in enumerate(plan.nodes):
            if position in given:
                own.append(Extent(value=given[position]))
            else:
                own.append(self._node(node, [own[arg].value for arg in node.args]))
        certain = _certain(plan)
        surely = [found.least for position, found in enumerate(own) if position in certain]
        least, most = _joined(surely, max), _joined([found.most for found in own], max)
        return Extent(
            least=replace(least, sequential=_least_way(plan, own)),
            most=replace(most, sequential=_longest_way(plan, own)),
            asked=tuple(asked for found in own for asked in found.asked),
            value=own[plan.output].value,
        )

    def _node(self, node: Node, args: list[Any]) -> Extent:
        match node.op:
            case Generate():
                return _call(node, node.op, self.ask(node.op, args))
            case Fork(n=n, body=body):
                return _branches(node.op, body, self._fork(n, body, args), n, n)
            case Each(cap=cap, body=body):
                items, captured = args[0], args[1:]
                if isinstance(items, (list, tuple)):
                    given = [[*node.op.handed(item, n, UNKNOWN), *captured] for n, item in enumerate(items[:cap])]
                    found = [self.plan(body, each) for each in given]
                    return _branches(node.op, body, found, len(found), len(found))
                one = self.plan(body, [*node.op.handed(UNKNOWN, UNKNOWN, UNKNOWN), *captured])
                return replace(_branches(node.op, body, [one] * cap, 0, cap), value=UNKNOWN)
            case Loop():
                return self._loop(node.op, args)
            case When(then=then, otherwise=otherwise, split=split):
                return _either([self.plan(then, args[1:split]), self.plan(otherwise, args[split:])])
            case Race(bodies=bodies):
                racers = [self.plan(body, given) for body, given in zip(bodies, node.op.captured(args), strict=True)]
                return Extent(
                    least=_joined([racer.least for racer in racers], min, min),
                    most=_joined([racer.most for racer in racers], max),
                    asked=tuple(asked for racer in racers for asked in racer.asked),
                )
            case Within(body=body, budget=budget):
                return limited(replace(self.plan(body, args), value=UNKNOWN), budget)
            case Call(cap=cap) if cap:
                return Extent(most=_opaque(cap, self.window))
            case _:
                return Extent(value=_pure(node, args))

    def _fork(self, n: int, body: Plan, args: list[Any]) -> list[Extent]:
        number = body.inputs[0]
        numbered = body.output == number or any(number in node.args for node in body.nodes)
        if numbered and n <= _SEPARATE:
            return [self.plan(body, [index, *args]) for index in range(n)]
        return [self.plan(body, [UNKNOWN, *args])] * n

    def _loop(self, op: Loop, args: list[Any]) -> Extent:
        state, *captured = args
        first = self.plan(op.body, args)
        if op.max_rounds == 1:
            return first
        later = first
        while True:  # ends: what is known of the state only shrinks
            wider = _merged(state, later.value)
            if same(wider, state):
                break
            state = wider
            later = self.plan(op.body, [state, *captured])
        rounds = op.max_rounds - 1
        return Extent(
            least=first.least if op.until is not None else first.least.then(later.least.repeated(rounds)),
            most=first.most.then(later.most.repeated(rounds)),
            asked=(*first.asked, *(replace(asked, calls=asked.calls * rounds) for asked in later.asked)),
            value=_merged(first.value, later.value),
        )


def limited(extent: Extent, budget: Budget) -> Extent:
    """The extent under a budget. Where it can bind, a run may be cut at any point: then nothing is its least."""
    limits = {
        "calls": budget.calls,
        "input": budget.total,
        "output": budget.total,
        "total": budget.total,
        "sequential": _lower(budget.sequential, budget.total),
        "dollars": budget.dollars,
    }
    found = {name: limit for name, limit in limits.items() if limit is not None}
    timed = budget.seconds is not None or budget.dollars is not None  # dollars may be those of an hour
    binds = timed or any(getattr(extent.most, name) > limit for name, limit in found.items())
    most = {name: min(getattr(extent.most, name), limit) for name, limit in found.items()}
    return replace(extent, least=NOTHING if binds else extent.least, most=replace(extent.most, **most))


def _call(node: Node, op: Generate, call: Prompted) -> Extent:
    site, window = op.site, math.inf if call.window is None else call.window
    drawn = 1 if site.sampling.temperature == 0 else (op.n or 1)
    cap = math.inf if call.cap is None else call.cap
    if call.prompt is None:
        read, written, total = window - 1, min(cap, window - 1), window
        least_prompt, longest = float(call.template), window - written
    else:
        least_prompt = read = longest = min(call.prompt, window - 1)
        written = min(cap, max(1.0, window - read))
        total = read + written
    prices = (call.input_price, call.output_price)
    dearest = max(_dollars(read, total - read, *prices), _dollars(longest, written, *prices))
    one = Takes(calls=1, input=read, output=written, total=total, sequential=total, dollars=dearest)
    fewest = _fewest(op, drawn)
    small = Takes(
        calls=1, input=least_prompt, output=1, total=least_prompt + 1, sequential=least_prompt + 1,
        dollars=_dollars(least_prompt, 1, *prices),
    )  # fmt: skip
    most = one.repeated(site.retries + 1).times(drawn)
    asked = Asked(
        node=node.name,
        site=site.name,
        calls=most.calls,
        prompt=call.prompt,
        input_price=call.input_price,
        output_price=call.output_price,
    )
    return Extent(least=small.times(fewest), most=most, asked=(asked,), ways=(small.sequential,) * drawn)


def _opaque(calls: int, window: int | None) -> Takes:
    """What a function takes that makes so many calls at most, of which nothing else is known."""
    tokens = math.inf if window is None else float(window * calls)
    return Takes(calls=calls, input=tokens, output=tokens, total=tokens, sequential=tokens, dollars=math.inf)


def _branches(op: Fork | Each, body: Plan, found: list[Extent], fewest: int, width: int) -> Extent:
    """Branches beside each other. What they give is known only where none of them can fail."""
    fewest = min(fewest, _fewest(op, width))
    each = [branch.least for branch in found]
    ways = sorted(takes.sequential for takes in each)
    sums = {name: sum(sorted(getattr(takes, name) for takes in each)[:fewest]) for name in _SUMS}
    surely = all(isinstance(node.op, PURE) for node in body.nodes)
    waits = isinstance(op, Each) and op.needs is not None
    return Extent(
        least=Takes(**sums, sequential=ways[fewest - 1] if fewest else 0.0),
        most=_joined([branch.most for branch in found], sum if waits else max),
        asked=tuple(asked for branch in found for asked in branch.asked),
        value=[branch.value if surely else UNKNOWN for branch in found],
        ways=tuple(ways),
    )


def _fewest(op: Generate | Fork | Each, width: int) -> int:
    """Of so many branches, those that must have ended before quorums are decided that alone read them."""
    if not op.stops or width <= 1:
        return width
    return min(width, max(op.min_branches or 1, *(_deciding(stop, width) for stop in op.stops)))


def _least_stream(op: Op, join: Op, ways: tuple[float, ...]) -> float:
    """Of a list, the way to the branch with which a join can be decided that does not wait for the others."""
    assert isinstance(op, (Generate, Fork, Each)), "only lists stream"
    if not ways:
        return 0.0
    deciding = 1 if isinstance(join, Get) else -(-len(ways) // 2)
    return ways[min(len(ways), max(op.min_branches or 1, deciding)) - 1]


def _deciding(stop: Quorum, width: int) -> int:
    return -(-width // 2) if stop.need is None else min(stop.need, width)


def _either(sides: list[Extent]) -> Extent:
    return Extent(
        least=_joined([side.least for side in sides], min, min),
        most=_joined([side.most for side in sides], max, max),
        asked=tuple(asked for side in sides for asked in side.asked),
        value=_merged(sides[0].value, sides[1].value),
    )


def _joined(parts: Iterable[Takes], way: Callable[..., float], amount: Callable[[list[float]], float] = sum) -> Takes:
    """Figure by figure: `way` joins the sequential ones, `amount` the others."""
    parts = list(parts) or [NOTHING]
    sums = {name: float(amount([getattr(part, name) for part in parts])) for name in _SUMS}
    return Takes(**sums, sequential=float(way([part.sequential for part in parts])))


def _certain(plan: Plan) -> set[int]:
    """Steps that run whatever conditions say: what only a side of a `when` reads is not among them."""
    found: set[int] = set()
    effects = [i for i, node in enumerate(plan.nodes) if isinstance(node.op, Call) and node.op.effects]
    stack = [plan.output, *effects] if plan.nodes else []
    while stack:
        position = stack.pop()
        if position in found:
            continue
        found.add(position)
        node = plan.nodes[position]
        stack.extend(node.args[:1] if isinstance(node.op, When) else node.args)
    return found


def _least_way(plan: Plan, own: list[Extent]) -> float:
    """Sequential tokens to the output at least; of a `when` its condition and its shorter side."""
    along: list[float] = []
    early: dict[int, float] = {}
    for position, (node, mine) in enumerate(zip(plan.nodes, own, strict=True)):
        args = node.args[:1] if isinstance(node.op, When) else node.args
        before = max((along[arg] for arg in args), default=0.0)
        for join in node.streams:
            early[join] = before + _least_stream(node.op, plan.nodes[join].op, mine.ways)
        along.append(early.get(position, before + mine.least.sequential))
    return along[plan.output] if along else 0.0


def _longest_way(plan: Plan, own: list[Extent]) -> float:
    """As `bounds` counts it: what only the sides of a `when` read begins behind its condition."""
    lengths = [found.most.sequential for found in own]
    along: list[float] = []
    for position, node in enumerate(plan.nodes):
        before = max((along[arg] for arg in node.args), default=0.0)
        if isinstance(node.op, When):
            before = max(before, along[node.args[0]] + behind(plan, position, lengths))
        along.append(before + lengths[position])
    return max(along, default=0.0)


def _pure(node: Node, args: list[Any]) -> Any:
    match node.op:
        case Const(value):
            return value
        case Answer():
            return args[0]
        case Pack(keys, kind):
            return dict(zip(keys, args, strict=True)) if kind == "dict" else tuple(args) if kind == "tuple" else args
        case Get(key):
            return _got(args[0], key)
        case _:
            return UNKNOWN


def _got(value: Any, key: Any) -> Any:
    """A part of what is known; anything but plain containers is left to the run."""
    if isinstance(value, list) and isinstance(key, str):
        return [_got(item, key) for item in value]
    if isinstance(value, dict) and isinstance(key, (str, int)):
        return value.get(key, UNKNOWN)
    if isinstance(value, (list, tuple)) and isinstance(key, tuple):
        return value[slice(*key)]
    if isinstance(value, (list, tuple)) and isinstance(key, int) and -len(value) <= key < len(value):
        return value[key]
    return UNKNOWN


def _merged(one: Any, other: Any) -> Any:
    """What is known of a value that is one of the two."""
    if same(one, other):
        return one
    if type(one) is type(other) is dict and one.keys() == other.keys():
        return {key: _merged(one[key], other[key]) for key in one}
    if type(one) is type(other) and type(one) in (list, tuple) and len(one) == len(other):
        return type(one)(map(_merged, one, other))
    return UNKNOWN


def _dollars(read: float, written: float, input_price: float, output_price: float) -> float:
    """An infinity of free tokens is free."""
    return (read * input_price if input_price else 0.0) + (written * output_price if output_price else 0.0)


def _lower(one: int | None, other: int | None) -> int | None:
    return min((limit for limit in (one, other) if limit is not None), default=None)
