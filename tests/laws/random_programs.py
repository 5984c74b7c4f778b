"""Random programs over all combinators. Equal seeds give equal programs, and those give equal plans."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import dspy

import reasonflow as rf
from reasonflow.language.program import trace
from reasonflow.plan.bounds import bound

GREEDY = "Answer greedily."
"""Stands in the prompts of sites at temperature 0: the random engine answers them without regard to the seed."""
RAISED = "a function raised"
MOST_CALLS = 60
"""Programs that may draw more samples are drawn again: a law sees more in many small programs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """What a random program may hold besides what is always there."""

    races: bool = True
    budgets: bool = True
    """Parts with a budget of their own."""
    seconds: bool = True
    """Among those budgets, some of time."""
    hasty_quorums: bool = True
    """Quorums of a minority, whose winner depends on who comes first."""
    failures: bool = True
    """Functions that raise."""
    effects: bool = True
    choices: bool = True
    """Conditions, whose sides may start calls of their own once the condition is known."""
    threads: bool = True
    """Plain functions, which run in threads and so take a time of their own."""


EVERYTHING = Features()
STEADY = Features(races=False, budgets=False, hasty_quorums=False)
"""Programs whose answers depend on nothing but seeds."""


class RandomProgram(rf.Program):
    """One random plan. `seed` decides the call sites and how they are arranged."""

    def __init__(self, seed: int, depth: int, features: Features, *, nested: bool = True) -> None:
        draw = random.Random(f"sites {seed}")
        self.seed, self.depth, self.features = seed, depth, features
        self.solvers = [_site(draw, "problem -> answer") for _ in range(3)]
        self.readers = [_site(draw, "problem, drafts: list[str] -> answer") for _ in range(2)]
        self.inner: RandomProgram | None = None
        if nested:
            self.inner = RandomProgram(draw.getrandbits(32), 1, features, nested=False)
            if features.budgets and draw.random() < 0.5:
                self.inner.budget = random_budget(draw, seconds=features.seconds)

    def plan(self, problem: Any) -> Any:
        build = _Builder(self, random.Random(f"plan {self.seed}"), problem)
        if self.depth and build.draw.random() < 0.5:
            build.known.append(rf.answer(build.solve(0)))  # what a run that is cut later can return
        value = build.text(self.depth)
        return {"value": build.marked(value)}


def random_program(seed: int, features: Features = EVERYTHING) -> RandomProgram:
    """A program of at most MOST_CALLS calls."""
    draw = random.Random(seed)
    for depth in (draw.choice((1, 2, 3, 4)), 3, 2, 1, 0):
        for _ in range(3):
            program = RandomProgram(draw.getrandbits(48), depth, features, nested=depth > 1 and draw.random() < 0.3)
            with dspy.context(lm=None):
                calls = bound(trace(program).plan, None).calls
            if 0 < calls <= MOST_CALLS:
                return program
    raise AssertionError("a program of depth 0 makes one call")


def random_budget(draw: random.Random, *, seconds: bool = True) -> rf.Budget:
    """One or two limits, from far too little to more than enough."""
    limits: dict[str, Callable[[], Any]] = {
        "sequential": lambda: int(10 ** draw.uniform(1.8, 4)),
        "total": lambda: int(10 ** draw.uniform(1.8, 4.5)),
        "calls": lambda: draw.randint(1, 30),
    }
    if seconds:
        limits["seconds"] = lambda: 10 ** draw.uniform(-4, -1)
    chosen = draw.sample(sorted(limits), draw.choice((1, 1, 2)))
    return rf.Budget(**{name: limits[name]() for name in chosen})


def digest(*parts: Any) -> int:
    """A number that looks random and is a function of what is given."""
    return int.from_bytes(blake2b(repr(parts).encode(), digest_size=6).digest())


# Functions of programs. They stand here, not in closures, so that a program traced twice gives equal plans.


def echo(value: Any) -> Any:
    return value


async def echo_later(value: Any) -> Any:
    return value


def brittle(value: Any) -> Any:
    if digest("brittle", str(value)) % 3 == 0:
        raise ValueError(RAISED)
    return value


async def several(value: Any) -> list[str]:
    return [f"{value}/{number}" for number in range(digest("several", str(value)) % 5)]


def earlier(item: str) -> list[int]:
    """Some of the items in front of one that `several` gave."""
    number = int(item.rpartition("/")[2])
    return [before for before in range(number) if digest("earlier", item, before) % 2 == 0]


async def listed(values: Any) -> str:
    return " ".join(map(str, values))


def holds(value: Any) -> bool:
    return digest("holds", str(value)) % 2 == 0


async def holds_later(value: Any) -> bool:
    return holds(value)


def seldom(value: Any) -> bool:
    return digest("seldom", str(value)) % 4 == 0


async def numbers(values: Any) -> list[int]:
    return [digest("numbers", str(value)) % 4 for value in values]


async def scores(values: Any) -> list[float | None]:
    return [None if not value else float(digest("scores", str(value)) % 10) for value in values]


def remember(value: Any) -> Any:
    return value


class _Builder:
    """Arranges the sites of one program inside its `plan`."""

    def __init__(self, program: RandomProgram, draw: random.Random, problem: Any) -> None:
        self.program, self.draw, self.features = program, draw, program.features
        self.known = [problem]
        """Values that a step may read: the problem, and the parameters of the bodies around it."""

    def text(self, depth: int) -> Any:
        """A step that gives one text."""
        kinds: list[Callable[[int], Any]] = [self.solve]
        if depth > 0:
            kinds += [
                self.solve, self.joined, self.joined, self.read, self.read, self.picked, self.called, self.looped,
                self.answered,
            ]  # fmt: skip
            kinds += [self.chosen] if self.features.choices else []
            kinds += [self.raced] * 2 if self.features.races else []
            kinds += [self.limited] * 2 if self.features.budgets else []
            kinds += [self.inner] * 2 if self.program.inner is not None else []
        return self.draw.choice(kinds)(depth - 1)

    def texts(self, depth: int) -> Any:
        """A step that gives a list of texts."""
        kinds = [self.group] if depth <= 0 else [self.group, self.forked, self.every, self.every_one, self.behind]
        return self.draw.choice(kinds)(depth - 1)

    def marked(self, value: Any) -> Any:
        return rf.answer(value) if self.draw.random() < 0.4 else value

    # One text ---------------------------------------------------------------------------------------------------------

    def value(self, depth: int) -> Any:
        """Something known, or a further step."""
        return self.text(depth) if depth > 0 and self.draw.random() < 0.6 else self.draw.choice(self.known)

    def solve(self, depth: int) -> Any:
        return self.draw.choice(self.program.solvers)(problem=self.value(depth)).answer

    def read(self, depth: int) -> Any:
        return self.draw.choice(self.program.readers)(problem=self.known[0], drafts=self.texts(depth)).answer

    def joined(self, depth: int) -> Any:
        if self.draw.random() < 0.5:
            return self.decided(self.texts(depth), None)
        return self.decided(self.records(depth), "answer").answer

    def decided(self, items: Any, by: str | None) -> Any:
        need = self.draw.choice((None, None, 1, 2)) if self.features.hasty_quorums else None
        try:
            joins = (
                lambda: rf.vote(items, by=by),
                lambda: rf.quorum(items, by=by),
                lambda: rf.quorum(items, by=by, need=need),
            )
            return self.draw.choice(joins)()
        except rf.ReasonFlowError:  # the list is narrower than the quorum
            return rf.quorum(items, by=by)

    def picked(self, depth: int) -> Any:
        items = self.texts(depth)
        if self.draw.random() < 0.5:
            return rf.select(items, indices=rf.call(numbers, items))
        return rf.select(items, scores=rf.call(scores, items))

    def called(self, depth: int) -> Any:
        functions: list[Any] = [echo_later, *([echo, dspy_module] if self.features.threads else [])]
        if self.features.failures:
            functions.append(brittle)
        value = self.value(depth)
        if self.features.effects and self.draw.random() < 0.2:
            rf.call(remember, value, effects=True)
        return rf.call(self.draw.choice(functions), value)

    def looped(self, depth: int) -> Any:
        until, body = self.draw.choice((None, holds, seldom)), self.body(depth)
        return rf.loop(lambda state: body(state), self.value(0), until, max_rounds=self.draw.randint(1, 3))

    def chosen(self, depth: int) -> Any:
        condition = rf.call(holds_later, self.value(depth))
        return rf.when(condition, self.body(depth), self.body(depth))

    def raced(self, depth: int) -> Any:
        bodies = [self.body(depth) for _ in range(self.draw.randint(2, 3))]
        return rf.race(*bodies, accept=self.draw.choice((None, holds)))

    def limited(self, depth: int) -> Any:
        return rf.within(random_budget(self.draw, seconds=self.features.seconds), self.body(depth))

    def inner(self, depth: int) -> Any:
        assert self.program.inner is not None
        return self.program.inner(problem=self.value(depth))["value"]

    def answered(self, depth: int) -> Any:
        return rf.answer(self.text(depth))

    # Lists of texts ---------------------------------------------------------------------------------------------------

    def width(self) -> int:
        return self.draw.randint(1, 5)

    def least(self, width: int) -> int | None:
        return self.draw.randint(1, width) if self.draw.random() < 0.25 else None

    def records(self, depth: int) -> Any:
        width = self.width()
        site = self.draw.choice(self.program.solvers)
        return site(problem=self.value(depth), n=width, min_branches=self.least(width))

    def group(self, depth: int) -> Any:
        return self.records(depth).answer

    def forked(self, depth: int) -> Any:
        width = self.width()
        body = self.body(depth)
        return rf.fork(
            width, body if self.draw.random() < 0.5 else lambda index: body(index), min_branches=self.least(width)
        )

    def every(self, depth: int) -> Any:
        return rf.each(self.texts(depth), _of_item(self.body(depth)))

    def every_one(self, depth: int) -> Any:
        items = rf.call(several, self.value(depth))
        cap = self.width()
        return rf.each(items, _of_item(self.body(depth)), cap=cap, min_branches=self.least(cap))

    def behind(self, depth: int) -> Any:
        items, body = rf.call(several, self.value(depth)), self.body(depth)
        cap = self.width()
        return rf.each(
            items,
            lambda item, found: body(item, rf.call(listed, found)),
            cap=cap,
            needs=earlier,
            min_branches=self.least(cap),
        )

    # Bodies -----------------------------------------------------------------------------------------------------------

    def body(self, depth: int) -> Callable[..., Any]:
        """A body that may read what is known outside and its own parameter, where it has one."""

        def traced(*parameter: Any) -> Any:
            known = self.known
            self.known = [*known, *parameter]
            try:
                return self.marked(self.text(depth))
            finally:
                self.known = known

        return traced


def _of_item(body: Callable[..., Any]) -> Callable[[Any], Any]:
    return lambda item: body(item)


class _Module(dspy.Module):
    def forward(self, value: Any) -> Any:
        return value


dspy_module = _Module()


@lru_cache
def _signature(fields: str, instructions: str) -> Any:
    return dspy.Signature(fields, instructions)


def _site(draw: random.Random, signature: str) -> rf.Generate:
    greedy, style = draw.random() < 0.25, draw.choice((None, None, "fields"))
    return rf.Generate(
        _signature(signature, GREEDY if greedy else "Answer."),
        style=style,
        temperature=0.0 if greedy else 0.7,
        max_tokens=draw.choice((None, 8, 40, 100, 400)),
        solution_tokens=draw.choice((None, None, 16)),
        retries=draw.choice((0, 1, 2)) if style == "fields" else 0,
        floor_tokens=draw.choice((1, 8, 32)),
        weight=draw.choice((0.5, 1.0, 3.0)),
    )
