"""Runs a lowered plan: one method per kind of node that takes time.

Structured concurrency throughout: when a plan, a fork or a whole run ends, every branch in it has finished, failed
or been cancelled. A branch that fails is a hole in its list; only what makes further work pointless leaves a run as an
exception.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import anyio

from reasonflow.errors import BranchCancelled, BudgetExceeded, EngineDead, EngineStartError, ProgramError, RunError
from reasonflow.language.dspy_errors import own_errors
from reasonflow.plan.nodes import Call, Each, Fork, Generate, Loop, Node, Plan, Race, Within
from reasonflow.runtime import joins
from reasonflow.runtime.ambient import surrounded
from reasonflow.runtime.calls import CallMaker
from reasonflow.runtime.early import Early
from reasonflow.runtime.evaluation import Evaluation
from reasonflow.runtime.events import Joined
from reasonflow.runtime.frames import Frame
from reasonflow.runtime.functions import call_function, contained
from reasonflow.runtime.ledger import Ledger
from reasonflow.runtime.notes import NOTES
from reasonflow.runtime.record import Run, label
from reasonflow.runtime.straight import chain_of, follow
from reasonflow.runtime.tally import OUTVOTED, tallies
from reasonflow.runtime.values import FREE, Cost, Hole, longest
from reasonflow.runtime.waiting import Waiting
from reasonflow.runtime.where import Indices, Outcome, Where

FATAL = (EngineDead, EngineStartError, ProgramError)
"""Errors no other branch can make up for."""


@dataclass(slots=True)
class Executor:
    """One run of one plan."""

    calls: CallMaker
    run: Run

    def evaluate(self, plan: Plan, inputs: Sequence[Outcome], where: Where) -> Coroutine[Any, Any, Outcome]:
        """What `plan` gives for these inputs."""
        chain = chain_of(plan)
        if chain is not None and not any(node.streams for node in plan.nodes):
            return follow(self, plan, chain, inputs, where)
        return Evaluation(self, plan, where).result(inputs)

    def step(
        self, node: Node, position: int, args: list[Outcome], where: Where, early: Early | None = None
    ) -> Coroutine[Any, Any, Outcome]:
        """The value of one node that is not pure; `position` is its place in its plan. early: told of its items."""
        where = where.after([cost for _, cost in args])
        if isinstance(node.op, Generate):
            return self.calls.generate(node, position, [value for value, _ in args], where, early)
        return self._step(node, position, args, where, early)

    async def _step(self, node: Node, position: int, args: list[Outcome], where: Where, early: Early | None) -> Outcome:
        bodies: list[list[Outcome] | Hole]
        match node.op:
            case Fork(n=n):
                bodies = [[(index, FREE), *args] for index in range(n)]
                return await self._branches(node, node.op, position, bodies, where, early)
            case Each(needs=needs):
                bodies = self._items(node, node.op, args, where)
                waiting = None if needs is None else self._waiting(node, needs, args[0][0], len(bodies))
                return await self._branches(node, node.op, position, bodies, where, early, waiting)
            case Loop(body=body, max_rounds=rounds):
                with where.body(body, position, rounds=rounds) as inside:
                    return await self._loop(node.op, args, inside)
            case Race():
                return await self._race(node, node.op, position, args, where)
            case Within():
                return await self._within(node, node.op, position, args, where)
            case Call():
                return await self._call(node, node.op, args, where)
            case _:
                raise AssertionError(f"{node.op} is no step")

    def _items(self, node: Node, op: Each, args: list[Outcome], where: Where) -> list[list[Outcome] | Hole]:
        (items, cost), *captured = args
        if not isinstance(items, (list, tuple)):
            raise RunError(
                f"{node.name} was given {type(items).__name__} to go through ({node.source})",
                why="rf.each needs a list at run time",
                fix="let what computes the items return a list",
            )
        if len(items) > op.cap:
            left_out = len(items) - op.cap
            text = f"{len(items)} items, cap {op.cap}: left out the last {left_out}"
            self.run.repair(node.name, text, where.indices)
        return [
            item if isinstance(item, Hole) else [(item, cost), (index, FREE), *captured]
            for index, item in enumerate(items[: op.cap])
        ]

    async def _branches(
        self,
        node: Node,
        op: Fork | Each,
        position: int,
        bodies: list[list[Outcome] | Hole],
        where: Where,
        early: Early | None,
        waiting: Waiting | None = None,
    ) -> Outcome:
        results: dict[int, Any] = {}
        costs: list[Cost] = []
        fatal: list[BaseException] = []
        decided = tallies(op.stops, len(bodies), op.min_branches)
        width = self._affordable(node, op, position, len(bodies), where)
        if early is not None:
            early.begin(len(bodies), op.min_branches, where.entry)

        async def branch(index: int, inputs: list[Outcome], inside: Where) -> None:
            mine = inside.branch(index)
            if waiting is not None:
                found = await waiting.found(index)
                inputs, mine = [*inputs[:2], found, *inputs[2:]], mine.after([found[1]])
            try:
                results[index], cost = await self.evaluate(op.body, inputs, mine)
            except FATAL as error:
                fatal.append(error)
                group.cancel_scope.cancel()
                return
            except Exception as error:
                results[index] = self.hole(node.name, (*where.indices, index), error)
                cost = mine.furthest.cost
            ended(index, cost)
            if decided(index, results[index]):
                group.cancel_scope.cancel()

        def ended(index: int, cost: Cost) -> None:
            costs.append(cost)
            if early is not None:
                early.come(index, results[index], cost)
            if waiting is not None:
                waiting.end(index, results[index], cost)

        def never(index: int, error: Exception) -> Hole:
            return Hole(label(node.name, (*where.indices, index)), error)

        chain = 1 if waiting is None else waiting.chain
        with where.body(op.body, position, width=width, chain=chain) as inside:
            async with anyio.create_task_group() as group:
                for index, inputs in enumerate(bodies):
                    if isinstance(inputs, Hole):
                        results[index] = inputs
                        ended(index, where.entry)
                    elif index < width:
                        group.start_soon(branch, index, inputs, inside)
                    elif waiting is not None:  # those that need it must not wait for ever
                        results[index] = never(index, BudgetExceeded("no room for the branch"))
                        ended(index, where.entry)
        if fatal:
            raise fatal[0]
        for index in range(len(bodies)):
            if index not in results:
                error = BudgetExceeded("no room for the branch") if index >= width else BranchCancelled(OUTVOTED)
                results[index] = never(index, error)
        found = [results[index] for index in range(len(bodies))]
        joins.enough(node.name, found, op.min_branches)
        return found, where.longest(costs)

    def _waiting(self, node: Node, needs: Callable[[Any], Any], items: Sequence[Any], width: int) -> Waiting:
        """Who waits for whom, among the first `width` items."""
        wanted: list[Any] = []
        for item in items[:width]:
            with contained(f"{node.name}'s needs"):
                wanted.append([] if isinstance(item, Hole) else needs(item))
        return Waiting(node.name, wanted, len(items))

    def _affordable(self, node: Node, op: Fork | Each, position: int, full: int, where: Where) -> int:
        """Branches that start: all, unless a budget cannot hold them even at their floors."""
        if where.frame is None:
            return full
        width = self.calls.allotter.branches(op, full, where.frame, position)
        if width < full:
            self.run.squeezed = True
            self.run.repair(node.name, f"the budget leaves room for {width} of {full} branches", where.indices)
        return width

    async def _loop(self, op: Loop, args: list[Outcome], where: Where) -> Outcome:
        state, *captured = args
        for number in range(op.max_rounds):
            if number and where.frame is not None:
                where.frame.next_round()
            state = await self.evaluate(op.body, [state, *captured], where.at(number).after([state[1]]))
            if op.until is not None:
                with contained("until"):
                    if op.until(state[0]):
                        break
        return state

    async def _race(self, node: Node, op: Race, position: int, args: list[Outcome], where: Where) -> Outcome:
        won: list[Outcome] = []
        lost: list[Hole] = []
        fatal: list[BaseException] = []

        async def run(number: int, body: Plan, inputs: Sequence[Outcome]) -> None:
            try:
                with where.body(body, position) as inside:
                    outcome = await self.evaluate(body, inputs, inside.at(number))
                if op.accept is not None:
                    with contained(f"{node.name}'s accept"):
                        if not await call_function(op.accept, [outcome[0]], {}):
                            raise RunError("its result was not accepted")
            except FATAL as error:
                fatal.append(error)
            except Exception as error:
                lost.append(self.hole(node.name, (*where.indices, number), error))
                return
            else:
                won.append(outcome)
            group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            for number, (body, inputs) in enumerate(zip(op.bodies, op.captured(args), strict=True)):
                group.start_soon(run, number, body, inputs)
        if fatal:
            raise fatal[0]
        if not won:
            where.scope.check()
            raise joins.all_failed(node.name, lost)
        self.run.tell(Joined, node.name, where.indices, branches=len(op.bodies), value=won[0][0])
        return won[0]

    async def _within(self, node: Node, op: Within, position: int, args: list[Outcome], where: Where) -> Outcome:
        ledger = Ledger(op.budget, where.scope.ledger)
        with where.scope.inside(ledger, where.entry) as scope:
            frame = Frame(op.body, scope, where.frame, position)
            with frame.attached(), scope.deadline(*self.deadline(ledger, label(node.name, where.indices))):
                outcome, cut = await self.bounded(
                    op.body, args, replace(where, scope=scope, frame=frame, furthest=where.furthest.inside())
                )
        if cut is not None:
            self.run.repair(node.name, f"cut short: {cut.what}", where.indices)
        return outcome

    async def bounded(self, plan: Plan, args: Sequence[Outcome], where: Where) -> tuple[Outcome, BudgetExceeded | None]:
        """What a scope gives, and what cut it short if something did: what its plan gives, or the latest answer.

        Raises BudgetExceeded where it was cut before it had one.
        """
        scope = where.scope
        if where.frame is not None:
            scope.planned = self.calls.allotter.planned(where.frame)
        try:
            outcome = await self.evaluate(plan, args, where)
        except Exception as error:
            cut = cut_by(error) or scope.stopped
            if cut is None or isinstance(error, FATAL):
                raise
            if scope.answer is not None:
                answer, way = scope.answer
                return (answer, longest([way, where.furthest.cost])), cut
            if error is cut:
                raise
            raise BudgetExceeded(cut.what, why=cut.why, fix=cut.fix) from error
        return outcome, scope.stopped

    def deadline(self, ledger: Ledger, whose: str) -> tuple[float, BudgetExceeded]:
        """Seconds until the budget has run out of time, or of money by the hour, and the error that says so."""
        seconds = ledger.seconds_left(self.calls.prices.hour)
        error = BudgetExceeded(
            f"{whose} ran out of {'time' if ledger.seconds_left() <= seconds else 'money'}",
            why=f"its budget is {ledger}",
            fix="give more, lower the program's widths, or mark partial results with rf.answer(...)",
        )
        return seconds, error

    async def _call(self, node: Node, op: Call, args: list[Outcome], where: Where) -> Outcome:
        where.scope.check()
        values = [value for value, _ in args]
        split = len(values) - len(op.names)
        positional, named = values[:split], dict(zip(op.names, values[split:], strict=True))
        token = NOTES.set(partial(self._note, node.name, where.indices))
        inside = self.calls.inside(node, op, where)
        result: list[Any] = []
        try:
            with (
                contained(node.name),
                own_errors(),
                where.scope.call(),
                surrounded(ledger=where.scope.ledger, inside=inside),
                self.calls.told_to_dspy(node, where.indices),
            ):
                result.append(await call_function(op.fn, positional, named))
        finally:
            NOTES.reset(token)
            await inside.close()
        if not result:
            where.scope.check()
        return result[0], inside.reached

    def _note(self, name: str, indices: Indices, text: str, repair: bool) -> None:
        if repair:
            self.run.repair(name, text, indices)
        else:
            self.run.notes.append(f"{label(name, indices)}: {text}")

    def hole(self, name: str, indices: Indices, error: Exception) -> Hole:
        """Record a failed branch."""
        path = label(name, indices)
        self.run.failures.append(f"{path}: {type(error).__name__}: {error}")
        return Hole(path, error)


def cut_by(error: BaseException | None) -> BudgetExceeded | None:
    """The budget that an error comes from, itself or through what caused it."""
    while error is not None:
        if isinstance(error, BudgetExceeded):
            return error
        error = error.__cause__
    return None
