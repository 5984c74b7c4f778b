"""Labelled samples for the gates of any program: what a gate sees, and whether its program is right if that passes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import Any

import anyio
import anyio.from_thread
import dspy

from reasonflow.errors import BudgetExceeded, InputError
from reasonflow.gates.gate import Decision, Gate
from reasonflow.language.parts import of_kind, parts_of
from reasonflow.language.program import Program
from reasonflow.optimizers.gates import Sample
from reasonflow.optimizers.planner_samples import planner_samples
from reasonflow.optimizers.scaling_samples import scaling_samples
from reasonflow.optimizers.trial_runs import Metric, repeats, score_of
from reasonflow.optimizers.uncut import cut_by_a_budget, cut_short
from reasonflow.plan.budget import Budget
from reasonflow.programs.async_scaling import AsyncScaling
from reasonflow.programs.speculative import SpeculativePlanner
from reasonflow.runtime.ambient import surrounded
from reasonflow.runtime.seeds import sample_seed
from reasonflow.runtime.spending import Room, Spending


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """A gate of a program with what a calibration takes."""

    name: str
    gate: Gate
    samples: Sequence[Sample]
    model: str
    """Fingerprint of the model that its values come from; empty where the program does not tell it."""


def gates_of(program: Program) -> dict[str, Gate]:
    """All gates in a program, by attribute path."""
    return of_kind(dict(parts_of(program)), Gate)


def calls_each(program: Program) -> int:
    """Model calls at most for the samples of one example."""
    if isinstance(program, SpeculativePlanner) and _owns_all(program, [program.gate]):
        return 1
    if isinstance(program, AsyncScaling) and _owns_all(program, program.gates):
        return int(program.turns) * (1 + program.scores)
    return program.explain().bound.calls


def provisional(program: Program) -> Program:
    """A copy whose gates hold by their thresholds on any model: for runs whose gates are calibrated again after all.

    Raises InputError for a gate without a threshold: such a program cannot run before.
    """
    copied: Program = program.deepcopy()
    for name, gate in gates_of(copied).items():
        if gate.threshold is None and gate.calibration is None:
            raise InputError(
                f"the gate {name!r} has no threshold",
                why="prompts and topology are searched by running the program, before its gates are calibrated",
                fix='optimize=("gates",) first, or give a threshold by hand: it is replaced in the end',
            )
        if gate.calibration is not None:
            settings = gate.score.settings
            gate.calibration = replace(gate.calibration, model="", settings=settings)
    return copied


def label(
    program: Program, examples: Sequence[dspy.Example], metric: Metric, *, lm: dspy.LM, seed: int, concurrency: int
) -> list[Labelled]:
    """Samples for each gate of a program; nothing of it is changed. Called in a thread of anyio's.

    A `SpeculativePlanner` and an `AsyncScaling` are asked as `planner_samples` and `scaling_samples` do it. Any other
    program runs on each example with all gates open: a sample is the score of what a gate was shown, right where the
    result is. Where a gate was asked several times in one run one of them is drawn; where it was not asked there is
    none. Raises BudgetExceeded where the surrounding budget does not last.
    """
    own = lm.copy(seed=sample_seed(seed, "gates", (0,)))
    if isinstance(program, SpeculativePlanner) and _owns_all(program, [program.gate]):
        with dspy.context(lm=own, disable_history=True):
            found = [planner_samples(program, examples, partial(_judged, metric))]
            return _named(program, [program.gate], found, program.model)
    if isinstance(program, AsyncScaling) and _owns_all(program, program.gates):
        with dspy.context(lm=own, disable_history=True):
            drafts = scaling_samples(program, examples, partial(_judged, metric), seed=seed)
            return _named(program, program.gates, drafts, program.model)
    heard: list[_Heard] = anyio.from_thread.run(partial(_heard, program, examples, metric, lm, seed, concurrency))
    return [_drawn(name, gate, heard, seed) for name, gate in gates_of(program).items()]


async def _is_right(metric: Metric, example: dspy.Example, prediction: Any) -> bool:
    """Whether the metric gives all there is, 1. One that fails on a prediction does not."""
    try:
        return await score_of(metric, example, prediction) >= 1
    except Exception as error:  # a metric may raise anything
        if repeats(error):
            raise
        return False


def _judged(metric: Metric, example: dspy.Example, prediction: Any) -> bool:
    return anyio.from_thread.run(_is_right, metric, example, prediction)


def _owns_all(program: Program, own: Sequence[Gate]) -> bool:
    return {id(gate) for gate in gates_of(program).values()} == {id(gate) for gate in own}


def _named(program: Program, gates: Sequence[Gate], samples: Sequence[Sequence[Sample]], model: str) -> list[Labelled]:
    names = {id(gate): name for name, gate in gates_of(program).items()}
    return [
        Labelled(name=names[id(gate)], gate=gate, samples=tuple(found), model=model)
        for gate, found in zip(gates, samples, strict=True)
    ]


# Any program, with open gates ----------------------------------------------------------------------------------------


class _Open(Gate):
    """Lets all pass that has a score, and remembers it."""

    heard: list[tuple[float, str]]

    def decide(self, value: Any, *, model: str = "") -> Decision:
        score, why = self.measure(value)
        self.heard.append((math.nan if score is None else score, model))
        return Decision(score is not None, score, why)

    def check(self, *, model: str = "") -> None:
        """It may be used on any model."""


@dataclass(frozen=True, slots=True)
class _Heard:
    """One run with open gates."""

    asked: dict[str, list[tuple[float, str]]]
    """By gate: score and model of all it was shown."""
    right: bool


def _opened(program: Program) -> tuple[Program, dict[str, _Open]]:
    copied: Program = program.deepcopy()
    gates: dict[str, Any] = gates_of(copied)
    for gate in gates.values():
        gate.__class__ = _Open  # in its place, whoever holds it: an attribute, a tuple, another program
        gate.heard = []
    return copied, gates


async def _heard(
    program: Program, examples: Sequence[dspy.Example], metric: Metric, lm: dspy.LM, seed: int, concurrency: int
) -> list[_Heard]:
    """A run of each example, in order."""
    found: list[_Heard | None] = [None] * len(examples)
    jobs, spending = iter(range(len(examples))), Spending(Room(Budget(), {"calls": calls_each(program)}))
    stopped: list[Exception] = []
    async with anyio.create_task_group() as group:

        async def work() -> None:
            for place in jobs:  # shared: every worker takes the next one
                try:
                    own = lm.copy(seed=sample_seed(seed, "gates", (place, 0)))
                    found[place] = await _run(program, examples[place], metric, own, spending)
                except Exception as error:  # kept aside, since a task group would wrap it
                    stopped.append(error)
                    group.cancel_scope.cancel()
                    return

        for _ in range(concurrency):
            group.start_soon(work)
    if stopped:
        raise stopped[0]
    return [each for each in found if each is not None]


async def _run(program: Program, example: dspy.Example, metric: Metric, lm: dspy.LM, spending: Spending) -> _Heard:
    """Raises BudgetExceeded where it was the shared budget that cut it: a budget of the program's own is part of it."""
    copied, gates = _opened(program)
    right, cut = False, ""
    async with spending.run() as ledger:
        if ledger is None:
            raise cut_short("it has no room for another run")
        try:
            with surrounded(ledger=ledger), dspy.context(lm=lm, disable_history=True):
                prediction = await copied.acall(**example.inputs().toDict())
        except Exception as error:  # a program may raise anything; a run without a result is a wrong one
            if repeats(error):
                raise
            cut = str(error) if isinstance(error, BudgetExceeded) else ""
        else:
            cut = cut_by_a_budget(prediction)
            right = await _is_right(metric, example, prediction)
        if cut and spending.is_to_blame(ledger, program.budget or Budget()):
            raise cut_short(cut)
    return _Heard({name: gate.heard for name, gate in gates.items()}, right)


def _drawn(name: str, gate: Gate, heard: Sequence[_Heard], seed: int) -> Labelled:
    random, models, samples = Random(seed), set[str](), []
    for each in heard:
        asked = each.asked[name]
        if asked:
            score, model = random.choice(asked)  # those of one run are not independent
            samples.append(Sample(score, each.right))
            models.add(model)
    return Labelled(name=name, gate=gate, samples=samples, model=models.pop() if len(models) == 1 else "")
