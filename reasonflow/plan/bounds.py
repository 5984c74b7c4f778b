"""The worst case of a plan, before anything runs: never exceeded, so it can be promised."""

from __future__ import annotations

import math
from dataclasses import dataclass

from reasonflow.plan.budget import Budget
from reasonflow.plan.nodes import Call, Each, Fork, Generate, Loop, Node, Op, Plan, Race, When, Within, behind


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """At most this much. None: nothing bounds it, because neither the window nor a token cap is known."""

    calls: int
    """Samples drawn, retries included."""
    alive: int
    """Samples in the engine at one moment."""
    sequential_tokens: int | None
    """Input and output tokens along the longest path."""
    token_latency: int | None
    """Output tokens along the longest path."""
    total_tokens: int | None
    """Input and output tokens of all calls."""
    output_tokens: int | None


_NOTHING = Bound(calls=0, alive=0, sequential_tokens=0, token_latency=0, total_tokens=0, output_tokens=0)


def bound(plan: Plan, window: int | None) -> Bound:
    """The worst case of `plan` on an engine whose prompt and output together hold `window` tokens."""
    own = [node_bound(node, window) for node in plan.nodes]
    along: list[Bound] = []
    for node, mine in zip(plan.nodes, own, strict=True):
        before = [along[arg] for arg in node.args]
        sequential, latency = _most([b.sequential_tokens for b in before]), _most([b.token_latency for b in before])
        if isinstance(node.op, When):
            position = len(along)
            first = before[0]
            late = [_unknown(b.sequential_tokens) for b in own], [_unknown(b.token_latency) for b in own]
            sequential = _most([sequential, _add(first.sequential_tokens, _known(behind(plan, position, late[0])))])
            latency = _most([latency, _add(first.token_latency, _known(behind(plan, position, late[1])))])
        along.append(
            Bound(
                calls=0,
                alive=0,
                sequential_tokens=_add(sequential, mine.sequential_tokens),
                token_latency=_add(latency, mine.token_latency),
                total_tokens=0,
                output_tokens=0,
            )
        )
    return Bound(
        calls=sum(b.calls for b in own),
        alive=_alive(plan, own),
        sequential_tokens=_most([b.sequential_tokens for b in along]),
        token_latency=_most([b.token_latency for b in along]),
        total_tokens=_sum([b.total_tokens for b in own]),
        output_tokens=_sum([b.output_tokens for b in own]),
    )


def node_bound(node: Node, window: int | None) -> Bound:
    """The worst case of one node, its bodies included."""
    op: Op = node.op
    match op:
        case Generate(site=site, n=n):
            tries = site.retries + 1
            cap = site.sampling.max_tokens
            output = cap if window is None or cap is None else min(cap, window)
            output = window if output is None else output
            calls = (n or 1) * tries
            return Bound(
                calls=calls,
                alive=n or 1,
                sequential_tokens=_times(window, tries),
                token_latency=_times(output, tries),
                total_tokens=_times(window, calls),
                output_tokens=_times(output, calls),
            )
        case Fork(n=width, body=body) | Each(cap=width, body=body):
            inner, chain = bound(body, window), op.chain if isinstance(op, Each) else 1
            return Bound(
                calls=inner.calls * width,
                alive=inner.alive * width,
                sequential_tokens=_times(inner.sequential_tokens, chain),
                token_latency=_times(inner.token_latency, chain),
                total_tokens=_times(inner.total_tokens, width),
                output_tokens=_times(inner.output_tokens, width),
            )
        case Loop(body=body, max_rounds=rounds):
            inner = bound(body, window)
            return Bound(
                calls=inner.calls * rounds,
                alive=inner.alive,
                sequential_tokens=_times(inner.sequential_tokens, rounds),
                token_latency=_times(inner.token_latency, rounds),
                total_tokens=_times(inner.total_tokens, rounds),
                output_tokens=_times(inner.output_tokens, rounds),
            )
        case When(then=then, otherwise=otherwise):
            sides = (bound(then, window), bound(otherwise, window))
            return Bound(
                calls=max(b.calls for b in sides),
                alive=max(b.alive for b in sides),
                sequential_tokens=_most([b.sequential_tokens for b in sides]),
                token_latency=_most([b.token_latency for b in sides]),
                total_tokens=_most([b.total_tokens for b in sides]),
                output_tokens=_most([b.output_tokens for b in sides]),
            )
        case Race(bodies=bodies):
            racers = [bound(body, window) for body in bodies]
            return Bound(
                calls=sum(b.calls for b in racers),
                alive=sum(b.alive for b in racers),
                sequential_tokens=_most([b.sequential_tokens for b in racers]),
                token_latency=_most([b.token_latency for b in racers]),
                total_tokens=_sum([b.total_tokens for b in racers]),
                output_tokens=_sum([b.output_tokens for b in racers]),
            )
        case Within(body=body, budget=budget):
            return limited(bound(body, window), budget)
        case Call(cap=cap) if cap:
            tokens = _times(window, cap)
            return Bound(
                calls=cap,
                alive=cap,
                sequential_tokens=tokens,
                token_latency=tokens,
                total_tokens=tokens,
                output_tokens=tokens,
            )
        case _:
            return _NOTHING


def limited(worst: Bound, budget: Budget) -> Bound:
    """The worst case under a budget: what it limits cannot exceed it."""
    return Bound(
        calls=worst.calls if budget.calls is None else min(worst.calls, budget.calls),
        alive=worst.alive if budget.calls is None else min(worst.alive, budget.calls),
        sequential_tokens=_least(worst.sequential_tokens, budget.sequential, budget.total),
        token_latency=_least(worst.token_latency, budget.sequential, budget.total),
        total_tokens=_least(worst.total_tokens, budget.total),
        output_tokens=_least(worst.output_tokens, budget.total),
    )


def _least(*limits: int | None) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)


def _alive(plan: Plan, own: list[Bound]) -> int:
    """Most samples at one moment: for each step, itself and all that neither feed it nor read it."""
    above: list[set[int]] = []
    for node in plan.nodes:
        above.append(set(node.args).union(*(above[arg] for arg in node.args)))
    busy = [position for position, mine in enumerate(own) if mine.alive]
    most = 0
    for position in busy:
        beside = (o for o in busy if o != position and o not in above[position] and position not in above[o])
        most = max(most, own[position].alive + sum(own[other].alive for other in beside))
    return most


def _add(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


def _times(tokens: int | None, factor: int) -> int | None:
    return None if tokens is None else tokens * factor


def _most(values: list[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return None if len(known) < len(values) else max(known, default=0)


def _unknown(tokens: int | None) -> float:
    return math.inf if tokens is None else tokens


def _known(tokens: float) -> int | None:
    return None if tokens == math.inf else int(tokens)


def _sum(values: list[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return None if len(known) < len(values) else sum(known)
