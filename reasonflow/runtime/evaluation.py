"""One evaluation of one plan: which nodes are wanted, which wait for what, and their values.

Each node starts as soon as what it reads is there; nothing runs that nobody needs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Protocol

import anyio

from reasonflow.errors import ReasonFlowError
from reasonflow.plan.nodes import PURE, Answer, Call, Input, Node, Plan, Quorum, Vote, When
from reasonflow.runtime import joins
from reasonflow.runtime.early import Decided, Early, streamed
from reasonflow.runtime.events import Joined
from reasonflow.runtime.pure import pure
from reasonflow.runtime.record import label
from reasonflow.runtime.steps import Steps
from reasonflow.runtime.values import longest
from reasonflow.runtime.where import Outcome, Where


class Spawn(Protocol):
    """Starts a task that follows a step, or a join that is decided before its list is whole."""

    def __call__(self, position: int, decided: Decided | None = None) -> None: ...


class Evaluation:
    """See the module. Use it once."""

    __slots__ = (
        "_args", "_begun", "_behind", "_decided", "_executor", "_missing", "_plan", "_readers", "_sides", "_values",
        "_wanted", "_weak", "_where",
    )  # fmt: skip

    def __init__(self, executor: Steps, plan: Plan, where: Where) -> None:
        self._executor = executor
        self._plan = plan
        self._where = where
        self._begun: set[int] = set()
        self._weak: set[int] = set()
        """Answers nobody reads, and what is free on the way to them: they come about or they do not."""
        count = len(plan.nodes)
        self._values: list[Outcome | None] = [None] * count
        self._missing: list[int] = [0] * count
        self._wanted: list[bool] = [False] * count
        self._readers: list[list[int]] = [[] for _ in range(count)]
        self._args: list[tuple[int, ...]] = [()] * count
        """What each wanted node waits for: all it reads, but for `when` first the condition alone."""
        self._sides: dict[int, bool] = {}
        self._behind: dict[int, Where] = {}
        """For a `when`, and for what only its taken side wants: begun when its condition was known."""
        self._decided: dict[int, Decided] = {}
        """Joins that did not wait for their whole list; those without a value are not wanted so far."""

    async def result(self, inputs: Sequence[Outcome]) -> Outcome:
        plan = self._plan
        for position, (value, cost) in zip(plan.inputs, inputs, strict=True):
            self._values[position] = (value, self._where.longest([cost]))
        ready: deque[int] = deque()
        self._want(plan.output, ready)
        for position, node in enumerate(plan.nodes):
            if isinstance(node.op, Call) and node.op.effects:
                self._want(position, ready)
        for position, node in enumerate(plan.nodes):
            if isinstance(node.op, Answer):
                self._want_weakly(position, ready)
        try:
            steps = self._settle(ready)
            if steps:
                await self._run(steps)
        finally:
            self._leave()
        outcome = self._values[plan.output]
        assert outcome is not None, "an evaluation ended without its output"
        return outcome if not self._decided else self._with_streamed(outcome)

    async def _run(self, steps: list[int]) -> None:
        if sum(not isinstance(node.op, PURE) for node in self._plan.nodes) == 1:  # nothing can run beside it
            await self._follow(steps[0], None)
            return
        failed: list[Exception] = []

        async def follow(position: int, decided: Decided | None = None) -> None:
            try:
                await self._follow(position, spawn, decided)
            except Exception as error:
                failed.append(error)
                group.cancel_scope.cancel()

        def spawn(position: int, decided: Decided | None = None) -> None:
            group.start_soon(follow, position, decided)

        async with anyio.create_task_group() as group:
            for position in sorted(steps, key=lambda number: -self._plan.nodes[number].priority):
                spawn(position)
        if failed:
            raise failed[0]

    async def _follow(self, position: int, spawn: Spawn | None, decided: Decided | None = None) -> None:
        """Run one step, then the first of those it made ready in the same task; the others get tasks of their own.

        decided: what the step gives, where it is a join that is decided before its list is whole.
        """
        step: int | None = position
        while step is not None:
            node = self._plan.nodes[step]
            if decided is not None:
                self._decided[step], decided = decided, None
                following = self._settle(self._publish(step))
            elif isinstance(node.op, When) and step not in self._sides:
                following = self._choose(step, node.op)
            elif node.streams and spawn is not None:
                with streamed(self._plan, step, spawn) as early:
                    outcome = await self._outcome(node, step, early)
                following = self._settle(self._finish(step, outcome))
            else:
                following = self._settle(self._finish(step, await self._outcome(node, step)))
            following.sort(key=lambda number: -self._plan.nodes[number].priority)
            step = following[0] if following else None
            for other in following[1:]:
                assert spawn is not None
                spawn(other)

    async def _outcome(self, node: Node, position: int, early: Early | None = None) -> Outcome:
        args = [self._value(arg) for arg in self._args[position]]
        where = self._behind.get(position, self._where)
        if isinstance(node.op, When):
            taken = node.op.then if self._sides[position] else node.op.otherwise
            where = where.after(cost for _, cost in args)
            with where.body(taken, position) as inside:
                self._begin(position)
                return await self._executor.evaluate(taken, args, inside)
        self._begin(position)
        return await self._executor.step(node, position, args, where, early)

    def _choose(self, position: int, op: When) -> list[int]:
        """The condition is known: want what the taken side reads."""
        condition, cost = self._value(self._plan.nodes[position].args[0])
        self._behind[position] = self._behind.get(position, self._where).after([cost])
        args = self._plan.nodes[position].args
        self._sides[position] = bool(condition)
        ready: deque[int] = deque()
        self._wait_for(position, args[1 : op.split] if condition else args[op.split :], ready)
        for join in self._decided:
            ready.extend(self._publish(join))
        return self._settle(ready)

    def _begin(self, position: int) -> None:
        """A node is reserved for from here on by what it does itself."""
        if self._where.frame is not None and position not in self._begun:
            self._begun.add(position)
            self._where.frame.begun[position] += 1

    def _leave(self) -> None:
        """Nothing that has not begun will."""
        if self._where.frame is not None:
            for position in range(len(self._plan.nodes)):
                self._begin(position)

    # Bookkeeping, without awaiting ----------------------------------------------------------------------------------

    def _want(self, position: int, ready: deque[int], behind: Where | None = None) -> None:
        stack = [position]
        while stack:
            current = stack.pop()
            if self._wanted[current]:
                if current in self._weak:
                    stack.extend(self._need(current, ready))
                continue
            self._wanted[current] = True
            if behind is not None:
                self._behind[current] = behind
            node = self._plan.nodes[current]
            args = node.args[:1] if isinstance(node.op, When) else node.args
            stack.extend(self._wait_for(current, args, ready))

    def _need(self, position: int, ready: deque[int]) -> tuple[int, ...]:
        """What came about or did not is needed now; if it failed, it fails again, aloud. Returns what it reads."""
        self._weak.discard(position)
        if self._values[position] is None and not self._missing[position]:
            ready.append(position)
        return self._args[position]

    def _want_weakly(self, position: int, ready: deque[int]) -> None:
        """Want an answer if it comes for free: what it reads is wanted anyway, or pure and in turn free."""
        if self._wanted[position] or not self._comes_free(position):
            return
        stack = [position]
        while stack:
            current = stack.pop()
            if not self._wanted[current]:
                self._wanted[current] = True
                self._weak.add(current)
                stack.extend(self._wait_for(current, self._plan.nodes[current].args, ready))

    def _comes_free(self, position: int) -> bool:
        node = self._plan.nodes[position]
        if self._wanted[position] or self._values[position] is not None:
            return True
        return isinstance(node.op, PURE) and not isinstance(node.op, Input) and all(map(self._comes_free, node.args))

    def _wait_for(self, position: int, args: tuple[int, ...], ready: deque[int]) -> list[int]:
        """Let a node wait for `args`; returns those not wanted before. Ready at once if all are there."""
        self._args[position] = args
        missing = [arg for arg in args if self._values[arg] is None]
        self._missing[position] = len(missing)
        for arg in missing:
            self._readers[arg].append(position)
        if not missing:
            ready.append(position)
        unwanted = [arg for arg in missing if not self._wanted[arg] or arg in self._weak]
        if position in self._sides:
            for arg in unwanted:
                self._want(arg, ready, self._behind[position])
            return []
        return unwanted

    def _settle(self, ready: deque[int]) -> list[int]:
        """Compute the pure ones among the ready nodes, and those they make ready; returns the steps that remain."""
        steps: list[int] = []
        while ready:
            position = ready.popleft()
            node = self._plan.nodes[position]
            if self._values[position] is not None:
                if position in self._decided and position not in self._weak:
                    self._confirm(node, position)
                continue
            if isinstance(node.op, PURE):
                outcome = self._free(node, position) if position in self._weak else self._pure(node, position)
                if outcome is not None:
                    ready.extend(self._finish(position, outcome))
            else:
                steps.append(position)
        return steps

    def _pure(self, node: Node, position: int) -> Outcome:
        args = [self._value(arg) for arg in self._args[position]]
        return pure(node, args, self._executor.run, self._where, self._behind.get(position, self._where))

    def _free(self, node: Node, position: int) -> Outcome | None:
        """An answer nobody reads, or a step on the way to it: without it the run goes on, and says so."""
        try:
            return self._pure(node, position)
        except ReasonFlowError as error:
            self._executor.run.repair(node.name, f"no partial answer: {error.what}", self._where.indices)
            return None

    def _publish(self, position: int) -> deque[int]:
        """Give a join the value that is decided before its list is whole, if it is wanted; returns what is ready."""
        if self._values[position] is not None or not self._wanted[position]:
            return deque()
        decided, node, run, indices = (
            self._decided[position], self._plan.nodes[position], self._executor.run, self._where.indices,
        )  # fmt: skip
        if isinstance(node.op, (Vote, Quorum)):
            come, width = decided.come, decided.width
            run.tell(Joined, node.name, indices, branches=width, value=decided.value, after=come)
            run.notes.append(f"{label(node.name, indices)}: decided after {come} of {width}")
        cost = self._behind.get(position, self._where).longest([decided.cost])
        return self._finish(position, (decided.value, cost))

    def _with_streamed(self, outcome: Outcome) -> Outcome:
        """The output, behind the lists too whose joins did not wait for them: the evaluation did."""
        lists = [self._values[position] for position, node in enumerate(self._plan.nodes) if node.streams]
        return outcome[0], longest([outcome[1], *(found[1] for found in lists if found is not None)])

    def _confirm(self, node: Node, position: int) -> None:
        """The list of a join that did not wait for it is whole. Raises what the join raises over all items."""
        joins.evaluate(node.op, [self._value(arg)[0] for arg in self._args[position]], lambda text: None)

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
