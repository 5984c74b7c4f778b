"""Labelled samples for a speculative planner's gate: what its small model says, how sure it is, whether it is right."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import dspy

import reasonflow as rf
from reasonflow.gates.scores import Score
from reasonflow.optimizers.gates import Sample
from reasonflow.optimizers.uncut import check_uncut
from reasonflow.programs.quick import quick
from reasonflow.programs.speculative import SpeculativePlanner
from reasonflow.runtime.values import Record


def planner_samples(
    planner: SpeculativePlanner, examples: Sequence[dspy.Example], metric: Callable[[dspy.Example, Any], Any]
) -> list[Sample]:
    """A sample an example, for `calibrate(planner.gate, samples, model=planner.model)`.

    The small model answers them all in one run, judged or not. A threshold that holds for all of them need not hold for
    those alone that the judge lets through: give examples of that kind, and none that the planner is tested on.

    metric: as DSPy has it; what is true of its value is right. An example without an answer or a score counts as never
    accepted. Raises BudgetExceeded where a surrounding budget does not last for all of them.
    """
    (samples,) = samples_by_score(planner, [planner.gate.score], examples, metric)
    return samples


def samples_by_score(
    planner: SpeculativePlanner,
    scores: Sequence[Score],
    examples: Sequence[dspy.Example],
    metric: Callable[[dspy.Example, Any], Any],
) -> list[list[Sample]]:
    """The same of several scores: a list of samples each, of the same answers.

    scores: none takes more log-probabilities than the planner's gate, whose the small model is asked for.
    """
    asked = _Asked(planner, scores, len(examples))
    done = asked(rows=[dict(example.inputs()) for example in examples])
    check_uncut(done)
    samples: list[list[Sample]] = [[] for _ in scores]
    for example, told in zip(examples, done.found, strict=True):
        answer, numbers = told or (None, [math.nan] * len(scores))
        right = answer is not None and bool(metric(example, dspy.Prediction(**answer)))
        for held, number in zip(samples, numbers, strict=True):
            held.append(Sample(number, right))
    return samples


class _Asked(rf.Program):
    """The small model on many examples at once."""

    def __init__(self, planner: SpeculativePlanner, scores: Sequence[Score], most: int) -> None:
        self.planner = planner
        self.gates = [rf.Gate(score) for score in scores]
        self.most = most

    def plan(self, rows: Any) -> Any:
        planner = self.planner

        def asked(row: Any) -> Any:
            inputs = {name: rf.call(quick(partial(_field, name)), row) for name in planner.inputs}
            return rf.call(quick(self.scored), planner.answered_by_small(**inputs))

        return {"found": rf.each(rows, asked, cap=self.most)}

    def scored(self, record: Record) -> tuple[dict[str, Any] | None, list[float]]:
        """The answer, and its scores; not a number where it has none."""
        answer = self.planner.read(record)
        if answer is None:
            return None, [math.nan] * len(self.gates)
        measured = [gate.measure(self.planner.value(answer, gate.score)) for gate in self.gates]
        for score, why in measured:
            if score is None:
                rf.note(f"not scored: {why}")
        fields = {name: answer[name] for name in self.planner.outputs}
        return fields, [math.nan if score is None else score for score, _ in measured]


def _field(name: str, row: dict[str, Any]) -> Any:
    return row[name]
