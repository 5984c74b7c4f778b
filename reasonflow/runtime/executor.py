"""Runs a lowered plan: each node starts as soon as what it reads is there, nothing runs that nobody needs.

Structured concurrency throughout: when a plan, a fork or a whole run ends, every branch in it has finished, failed
or been cancelled. A branch that fails is a hole in its list; only what makes further work pointless leaves a run as an
exception.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio
import dspy
from anyio import to_thread

from reasonflow.errors import EngineDead, EngineStartError, ProgramError, RunError
from reasonflow.plan.nodes import PURE, Call, Each, Fork, Generate, Loop, Node, Plan, When
from reasonflow.runtime import joins
from reasonflow.runtime.calls import CallMaker
from reasonflow.runtime.notes import NOTES
from reasonflow.runtime.record import Run, label
from reasonflow.runtime.values import FREE, Cost, Hole, longest

FATAL = (EngineDead, EngineStartError, ProgramError)
"""Errors no other branch can make up for."""

Outcome = tuple[Any, Cost]
"""A value, and what the longest way to it cost."""
Indices = tuple[int, ...]


@dataclass(slots=True)
class Executor:
    """One run of one plan."""

    calls: CallMaker
    run: Run

    async def evaluate(self, plan: Plan, inputs: Sequence[Outcome], indices: Indices = ()) -> Outcome:
        """What `plan` gives for these inputs. indices: the branch, round and sample numbers it runs under."""
        return await _Evaluation(self, plan, indices).result(inputs)

    # One method per kind of node that takes time --------------------------------------------------------------------

    async def step(self, node: Node, args: list[Outcome], indices: Indices) -> Outcome:
        """The value of one node that is not pure."""
        match node.op:
            case Generate():
                before = longest([cost for _, cost in args])
                return await self.calls.generate(node, [value for value, _ in args], before, indices)
            case Fork():
                bodies = [[(index, FREE), *args] for index in range(node.op.n)]
                return await self._branches(node, node.op.body, bodies, indices)
            case Each():
                return await self._each(node, node.op, args, indices)
            case Loop():
                return await self._loop(node.op, args, indices)
            case Call():
                return await self._call(node, node.op, args, indices)
            case _:
                raise AssertionError(f"{node.op} is no step")

    async def _each(self, node: Node, op: Each, args: list[Outcome], indices: Indices) -> Outcome:
        (items, cost), *captured = args
        if not isinstance(items, (list, tuple)):
            raise RunError(
                f"{node.name} was given {type(items).__name__} to go through ({node.source})",
                why="rf.each needs a list at run time",
                fix="let what computes the items return a list",
            )
        if len(items) > op.cap:
            self.run.repairs.append(
                f"{node.name}: {len(items)} items, cap {op.cap}: left out the last {len(items) - op.cap}"
            )
        bodies = [
            item if isinstance(item, Hole) else [(item, cost), (index, FREE), *captured]
            for index, item in enumerate(items[: op.cap])
        ]
        return await self._branches(node, op.body, bodies, indices)

    async def _branches(
        self, node: Node, body: Plan, bodies: Sequence[list[Outcome] | Hole], indices: Indices
    ) -> Outcome:
        results: list[Any] = [None] * len(bodies)
        costs: list[Cost] = [FREE] * len(bodies)
        fatal: list[BaseException] = []

        async def branch(index: int, inputs: list[Outcome]) -> None:
            try:
                results[index], costs[index] = await self.evaluate(body, inputs, (*indices, index))
            except FATAL as error:
                fatal.append(error)
                group.cancel_scope.cancel()
            except Exception as error:
                results[index] = self.hole(node.name, (*indices, index), error)

        async with anyio.create_task_group() as group:
            for index, inputs in enumerate(bodies):
                if isinstance(inputs, Hole):
                    results[index] = inputs
                else:
                    group.start_soon(branch, index, inputs)
        if fatal:
            raise fatal[0]
        return results, longest(costs)

    async def _loop(self, op: Loop, args: list[Outcome], indices: Indices) -> Outcome:
        state, *captured = args
        for number in range(op.max_rounds):
            state = await self.evaluate(op.body, [state, *captured], (*indices, number))
            if op.until is not None:
                with contained("until"):
                    if op.until(state[0]):
                        break
        return state

    async def _call(self, node: Node, op: Call, args: list[Outcome], indices: Indices) -> Outcome:
        values = [value for value, _ in args]
        split = len(values) - len(op.names)
        positional, named = values[:split], dict(zip(op.names, values[split:], strict=True))
        path = label(node.name, indices)
        token = NOTES.set(lambda text: self.run.repairs.append(f"{path}: {text}"))
        try:
            with contained(node.name):
                result = await call_function(op.fn, positional, named)
        finally:
            NOTES.reset(token)
        return result, longest([cost for _, cost in args])

    def hole(self, name: str, indices: Indices, error: Exception) -> Hole:
        """Record a failed branch."""
        path = label(name, indices)
        self.run.failures.append(f"{path}: {type(error).__name__}: {error}")
        return Hole(path, error)


@contextmanager
def contained(name: str) -> Iterator[None]:
    """A user's function that asks Python to exit ends its run: on an event loop it would end the engine's for good."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as error:
        raise RunError(
            f"{name} raised {type(error).__name__}",
            why="inside a run a function cannot end the process",
            fix="raise an ordinary exception there",
        ) from error


async def call_function(fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """`fn` with real values: awaited if it is async, in a worker thread if it is not.

    A thread cannot be stopped: when the run is cancelled it is left to end by itself.
    """
    if isinstance(fn, dspy.Module):
        if callable(getattr(fn, "aforward", None)):  # DSPy's base class has none
            return await fn.acall(*args, **kwargs)
    elif inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None)):  # noqa: B004
        return await fn(*args, **kwargs)
    result = await to_thread.run_sync(partial(fn, *args, **kwargs), abandon_on_cancel=True)
    return await result if inspect.isawaitable(result) else result


class _Evaluation:
    """One evaluation of one plan: which nodes are wanted, which wait for what, and their values."""

    __slots__ = ("_args", "_executor", "_indices", "_missing", "_plan", "_readers", "_sides", "_values", "_wanted")

    def __init__(self, executor: Executor, plan: Plan, indices: Indices) -> None:
        self._executor = executor
        self._plan = plan
        self._indices = indices
        count = len(plan.nodes)
        self._values: list[Outcome | None] = [None] * count
        self._missing: list[int] = [0] * count
        self._wanted: list[bool] = [False] * count
        self._readers: list[list[int]] = [[] for _ in range(count)]
        self._args: list[tuple[int, ...]] = [()] * count
        """What each wanted node waits for: all it reads, but for `when` first the condition alone."""
        self._sides: dict[int, bool] = {}

    async def result(self, inputs: Sequence[Outcome]) -> Outcome:
        plan = self._plan
        for position, given in zip(plan.inputs, inputs, strict=True):
            self._values[position] = given
        ready: deque[int] = deque()
        self._want(plan.output, ready)
        for position, node in enumerate(plan.nodes):
            if isinstance(node.op, Call) and node.op.effects:
                self._want(position, ready)
        steps = self._settle(ready)
        if steps:
            await self._run(steps)
        outcome = self._values[plan.output]
        assert outcome is not None, "an evaluation ended without its output"
        return outcome

    async def _run(self, steps: list[int]) -> None:
        if sum(not isinstance(node.op, PURE) for node in self._plan.nodes) == 1:  # nothing can run beside it
            await self._follow(steps[0], None)
            return
        failed: list[Exception] = []

        async def follow(position: int) -> None:
            try:
                await self._follow(position, spawn)
            except Exception as error:
                failed.append(error)
                group.cancel_scope.cancel()

        def spawn(position: int) -> None:
            group.start_soon(follow, position)

        async with anyio.create_task_group() as group:
            for position in sorted(steps, key=lambda number: -self._plan.nodes[number].priority):
                spawn(position)
        if failed:
            raise failed[0]

    async def _follow(self, position: int, spawn: Callable[[int], None] | None) -> None:
        """Run one step, then the first of those it made ready in the same task; the others get tasks of their own."""
        step: int | None = position
        while step is not None:
            node = self._plan.nodes[step]
            if isinstance(node.op, When) and step not in self._sides:
                following = self._choose(step, node.op)
            else:
                following = self._settle(self._finish(step, await self._outcome(node, step)))
            following.sort(key=lambda number: -self._plan.nodes[number].priority)
            step = following[0] if following else None
            for other in following[1:]:
                assert spawn is not None
                spawn(other)

    async def _outcome(self, node: Node, position: int) -> Outcome:
        args = [self._value(arg) for arg in self._args[position]]
        if isinstance(node.op, When):
            taken = node.op.then if self._sides[position] else node.op.otherwise
            return await self._executor.evaluate(taken, args, self._indices)
        return await self._executor.step(node, args, self._indices)

    def _choose(self, position: int, op: When) -> list[int]:
        """The condition is known: want what the taken side reads."""
        condition, _ = self._value(self._plan.nodes[position].args[0])
        args = self._plan.nodes[position].args
        self._sides[position] = bool(condition)
        ready: deque[int] = deque()
        self._wait_for(position, args[1 : op.split] if condition else args[op.split :], ready)
        return self._settle(ready)

    # Bookkeeping, without awaiting ----------------------------------------------------------------------------------

    def _want(self, position: int, ready: deque[int]) -> None:
        stack = [position]
        while stack:
            current = stack.pop()
            if self._wanted[current]:
                continue
            self._wanted[current] = True
            node = self._plan.nodes[current]
            args = node.args[:1] if isinstance(node.op, When) else node.args
            stack.extend(self._wait_for(current, args, ready))

    def _wait_for(self, position: int, args: tuple[int, ...], ready: deque[int]) -> list[int]:
        """Let a node wait for `args`; returns those not wanted before. Ready at once if all are there."""
        self._args[position] = args
        missing = [arg for arg in args if self._values[arg] is None]
        self._missing[position] = len(missing)
        for arg in missing:
            self._readers[arg].append(position)
        if not missing:
            ready.append(position)
        unwanted = [arg for arg in missing if not self._wanted[arg]]
        if position in self._sides:
            for arg in unwanted:
                self._want(arg, ready)
            return []
        return unwanted

    def _settle(self, ready: deque[int]) -> list[int]:
        """Compute the pure ones among the ready nodes, and those they make ready; returns the steps that remain."""
        steps: list[int] = []
        while ready:
            position = ready.popleft()
            node = self._plan.nodes[position]
            if self._values[position] is not None:
                continue
            if isinstance(node.op, PURE):
                ready.extend(self._finish(position, self._pure(node, position)))
            else:
                steps.append(position)
        return steps

    def _pure(self, node: Node, position: int) -> Outcome:
        args = [self._value(arg) for arg in self._args[position]]
        note = self._executor.run.repairs.append
        value = joins.evaluate(node.op, [value for value, _ in args], lambda text: note(f"{node.name}: {text}"))
        return value, longest([cost for _, cost in args])

    def _finish(self, position: int, outcome: Outcome) -> deque[int]:
        self._values[position] = outcome
        ready: deque[int] = deque()
        for reader in self._readers[position]:
            self._missing[reader] -= 1
            if self._missing[reader] == 0:
                ready.append(reader)
        return ready

    def _value(self, position: int) -> Outcome:
        outcome = self._values[position]
        assert outcome is not None, "a node ran before what it reads"
        return outcome
