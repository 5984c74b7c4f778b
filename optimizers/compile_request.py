"""What a compile is asked for, and whether it can be done: looked at before anything is spent."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import dspy

from reasonflow.errors import InputError, UnknownName
from reasonflow.language.program import Program
from reasonflow.optimizers.front import Objective
from reasonflow.optimizers.gate_samples import gates_of
from reasonflow.optimizers.prompting.optimizers import By
from reasonflow.optimizers.trial_runs import Metric
from reasonflow.plan.budget import Budget

PHASES = ("prompts", "topology", "gates")
"""Of a compile, in the order in which they run: prompts change what a width is worth, and both what a gate sees."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The arguments of `rf.compile`, as it explains them."""

    program: Program
    trainset: Sequence[dspy.Example]
    metric: Metric
    valset: Sequence[dspy.Example] | None
    testset: Sequence[dspy.Example] | None
    budget: Budget
    optimize: tuple[str, ...]
    """In the order of `PHASES`."""
    objective: Objective
    alpha: float
    delta: float
    prompts_by: By | None
    reflection_lm: dspy.BaseLM | None
    seed: int
    folder: Path | None
    lm: dspy.LM
    concurrency: int
    on_step: Callable[[Any], None] | None
    shown: bool
    """Whether people watch."""

    def say(self, text: str) -> None:
        """A line for people, where there are any."""
        if self.shown:
            print(text, file=sys.stderr, flush=True)


def phases_of(optimize: Sequence[str]) -> tuple[str, ...]:
    """Them in order. Raises InputError for none, and for one that is not known."""
    if isinstance(optimize, str) or not optimize:
        raise InputError(f"optimize={optimize!r} names no part of a program", fix='optimize=("topology",)')
    for name in optimize:
        if name not in PHASES:
            raise UnknownName.among("part to optimize", name, PHASES)
    return tuple(name for name in PHASES if name in optimize)


def phases_for(program: Program, optimize: Sequence[str]) -> tuple[str, ...]:
    """Those that have something to do: without gates where the program has none, unless they alone are asked for.

    Raises InputError as `phases_of`.
    """
    found = phases_of(optimize)
    return found if found == ("gates",) or gates_of(program) else tuple(name for name in found if name != "gates")


def check_request(program: Any, optimize: Sequence[str], objective: str, budget: Any, lm: Any) -> None:
    """Raises InputError for a program, a part, an objective, a budget or a model that nothing can be done with."""
    if not isinstance(program, Program):
        raise InputError(f"{type(program).__name__} cannot be compiled", fix="pass a reasonflow.Program")
    phases_of(optimize)
    if objective not in get_args(Objective):
        raise UnknownName.among("objective", objective, get_args(Objective))
    check_budget(budget, lm)


def check_budget(budget: Any, lm: Any) -> None:
    """Raises InputError for a budget that ends nothing, and without a model."""
    if not isinstance(budget, Budget) or not budget.limits:
        raise InputError("a compile needs a budget", why="a search ends when it is spent", fix="rf.Budget(calls=2_000)")
    if budget.sequential is not None:
        raise InputError(
            "the budget of a compile limits sequential tokens",
            why="they are counted along the longest path of each run, and add up to nothing",
            fix="limit calls, total, seconds or dollars, and choose by front.pick(sequential=...)",
        )
    if lm is None:
        raise InputError("there is no language model to compile with", fix="pass lm=rf.vllm(...), or dspy.configure it")
