"""What laws look at: ledgers at every moment, costs of every call, what is left in an engine."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import dspy
import pytest
from dspy.utils.exceptions import AdapterParseError

import reasonflow as rf
from reasonflow.backends.protocol import Counters, Request
from reasonflow.errors import BranchCancelled
from reasonflow.plan.nodes import Plan, Within
from reasonflow.runtime.calls import CallMaker
from reasonflow.runtime.ledger import Amount, Hold, Ledger
from reasonflow.runtime.record import Run, Span
from reasonflow.runtime.runtime import Runtime
from reasonflow.runtime.scheduler import Admission, Scheduler, Ticket
from tests.laws.random_programs import RAISED

RUN_S = 20.0
"""Longer than any run of these laws takes: what is not over by then waits for something that never comes."""


@dataclass(slots=True)
class Seen:
    """Everything that went by while `watching`."""

    ledgers: list[Ledger] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    overspent: list[str] = field(default_factory=list)
    """What was beyond a limit at any moment, in words."""
    alive: int = 0
    """Most samples admitted at one moment."""

    def of(self, budget: rf.Budget) -> list[Ledger]:
        """The ledgers of one budget: one per time it was entered."""
        return [ledger for ledger in self.ledgers if ledger.budget is budget]


@contextmanager
def watching() -> Iterator[Seen]:
    """Look over the shoulder of every ledger, call and scheduler inside."""
    seen = Seen()
    reserve, settle, made, begin = Ledger.reserve, Ledger._settle, Ledger.__init__, Run.__init__
    generate, admit, release = CallMaker.generate, Scheduler.admit, Scheduler.release

    def watched_made(self: Ledger, budget: rf.Budget, parent: Ledger | None = None) -> None:
        made(self, budget, parent)
        seen.ledgers.append(self)

    def watched_reserve(self: Ledger, amount: Amount) -> Hold | None:
        hold = reserve(self, amount)
        _check(self, seen)
        return hold

    def watched_settle(self: Ledger, held: Amount, spent: Amount) -> None:
        if spent.total > held.total or spent.calls > held.calls:
            seen.overspent.append(f"settled {spent} of {held} held")
        settle(self, held, spent)
        _check(self, seen)

    def watched_begin(self: Run, *args: Any, **kwargs: Any) -> None:
        begin(self, *args, **kwargs)
        seen.runs.append(self)

    async def watched_generate(self: CallMaker, node: Any, position: int, values: Any, where: Any, *early: Any) -> Any:
        value, cost = await generate(self, node, position, values, where, *early)
        _check_way(self.run, where.scope, cost.path(), seen)
        return value, cost

    async def watched_admit(self: Scheduler, ticket: Ticket, samples: int, request: Request | None = None) -> Admission:
        admission = await admit(self, ticket, samples, request)
        seen.alive = max(seen.alive, self.running)
        return admission

    def watched_release(self: Scheduler, admission: Admission) -> None:
        release(self, admission)
        seen.alive = max(seen.alive, self.running)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Ledger, "__init__", watched_made)
        patch.setattr(Ledger, "reserve", watched_reserve)
        patch.setattr(Ledger, "_settle", watched_settle)
        patch.setattr(Run, "__init__", watched_begin)
        patch.setattr(CallMaker, "generate", watched_generate)
        patch.setattr(Scheduler, "admit", watched_admit)
        patch.setattr(Scheduler, "release", watched_release)
        yield seen


def _check(ledger: Ledger, seen: Seen) -> None:
    for level in ledger.chain():
        for name in ("total", "calls"):
            limit, spent = getattr(level.budget, name), getattr(level.spent, name)
            taken = spent + getattr(level.held, name)
            if limit is not None and taken > limit:
                seen.overspent.append(f"{taken} {name} taken of {limit}")
            if spent < 0 or getattr(level.held, name) < 0:
                seen.overspent.append(f"a negative {name}: {level.spent}, {level.held}")


def _check_way(run: Run, scope: Any, way: tuple[int, ...], seen: Seen) -> None:
    """The calls on the way to a value, counted anew from the record: inside every scope around it, and over the run."""
    while scope is not None:
        entered = len(scope.entry.path())
        spans = [run.spans[number] for number in way[entered:]]
        if way[:entered] != scope.entry.path():
            seen.overspent.append(f"a way into {scope.ledger} that does not begin at its entry")
        limits = [] if scope.ledger is None else [scope.ledger.budget.sequential]
        if scope.parent is None and scope.ledger is not None:
            limits += [ledger.budget.sequential for ledger in scope.ledger.chain()]
        taken = sum(span.input_tokens + span.output_tokens for span in spans)
        for limit in limits:
            if limit is not None and taken > limit:
                seen.overspent.append(f"{taken} sequential tokens of {limit} on the way to {spans[-1].node}")
        scope = scope.parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended."""

    value: Any = None
    run: Run | None = None
    error: BaseException | None = None

    @property
    def strange(self) -> str:
        """In words, where a run may not end like this; empty where it may."""
        error = self.error
        known = error is None or isinstance(error, (rf.ReasonFlowError, AdapterParseError)) or str(error) == RAISED
        if not known or isinstance(error, BranchCancelled):
            return f"raised {error!r}"
        if self.run is None or (error is None and bool(self.run.cut) == self.run.complete):
            return f"complete={self.run and self.run.complete}, cut={self.run and self.run.cut!r}, {error!r}"
        return ""


async def outcome(program: rf.Program, **inputs: Any) -> Outcome:
    """How one run ends, on the runtime's own loop. Raises TimeoutError where it does not."""
    deadline = asyncio.timeout(RUN_S)
    try:
        async with deadline:
            out = await program.acall(**inputs)
    except Exception as error:
        if deadline.expired():
            raise
        return Outcome(run=getattr(error, "run", None), error=error)
    return Outcome(value=out.toDict(), run=out.run)


def left_behind(lm: dspy.LM) -> dict[str, int]:
    """What is still in an engine, in its queue or on its loop: all zero when nothing runs."""
    runtime: Runtime = lm.engine.runtime

    async def look() -> dict[str, int]:
        counts = await runtime.backend.counters()
        return {
            "running": counts.running,
            "waiting": counts.waiting,
            "admitted": runtime.scheduler.running,
            "queued": runtime.scheduler.waiting,
            "live blocks": 0 if runtime.scheduler.footprints is None else runtime.scheduler.footprints.live,
            "tasks": len(asyncio.all_tasks()) - 1,
        }

    return {name: count for name, count in runtime.run(look).items() if count}


def counters(lm: dspy.LM) -> Counters:
    """The engine's own."""
    found: Counters = lm.engine.runtime.run(lm.engine.runtime.backend.counters)
    return found


def sums(spans: list[Span]) -> tuple[int, int, int]:
    """(input, cached, output) tokens."""
    return (
        sum(span.input_tokens for span in spans),
        sum(span.cached_tokens or 0 for span in spans),
        sum(span.output_tokens for span in spans),
    )


def parts_with_budgets(plan: Plan) -> list[tuple[str, rf.Budget]]:
    """Name and budget of every `within`, those inside others included."""
    return [(node.name, node.op.budget) for node in plan.walk() if isinstance(node.op, Within)]
