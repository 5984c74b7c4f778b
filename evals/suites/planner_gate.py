"""The gate of the suite's planner, calibrated on problems of another seed that its judge lets through."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio.to_thread
import dspy

import reasonflow as rf
from reasonflow.evals.benchmarks import load
from reasonflow.evals.comparison import decide
from reasonflow.evals.dataset import Problem
from reasonflow.evals.judging import Verdict, required_answer
from reasonflow.evals.run_lines import RunLines
from reasonflow.evals.suites.arms import run_arm
from reasonflow.evals.suites.findings import Breakdown
from reasonflow.evals.suites.suite import Setting
from reasonflow.evals.suites.tool_agent import TASK, settings_of
from reasonflow.gates.gate import Calibration
from reasonflow.gates.scores import Score, Separability, TokenProbability
from reasonflow.optimizers.gates import Sample, calibrate, fewest
from reasonflow.optimizers.planner_samples import planner_samples
from reasonflow.programs.quick import quick
from reasonflow.programs.speculative import SpeculativePlanner
from reasonflow.runtime.values import Record

FOLDER = "planner/calibration"
FILE = "samples.jsonl"
SOURCE = f"{TASK},seed=1"
JUDGED = 600
"""Problems that the judge is asked about; it lets two of three through."""
ALPHA, DELTA = 0.02, 0.1
"""Errors among what is accepted, and the chance that there are more. Where half of all tasks are accepted, one more of
a hundred is wrong at most, and fewer as far as the agent errs at those, too."""
SCORES: Mapping[str, Score] = {"token probability": TokenProbability(), "separability": Separability(k=20)}
"""Of which the gate takes the one that accepts more. They share delta, so that the choice costs no promise."""
_AT_ONCE = 100
"""Problems between two records."""

MakePlanner = Callable[[rf.Gate], SpeculativePlanner]


@dataclass(frozen=True, slots=True)
class Found:
    """A gate that was calibrated, and what of."""

    gate: rf.Gate
    row: Mapping[str, Any]
    """Of the table."""

    @property
    def acceptance(self) -> float:
        """Share of the calibration problems that pass."""
        held = self.gate.calibration
        return (held and held.acceptance) or 0.0


class Judging(rf.Program):
    """A planner's judge alone."""

    def __init__(self, planner: SpeculativePlanner) -> None:
        self.judge = planner.judge
        self.is_free = planner.is_free

    def plan(self, problem: Any) -> Any:
        return rf.answer(rf.call(quick(self.said), self.judge(problem=problem)))

    def said(self, verdict: Any) -> Record:
        """Whether it lets the problem through, as words."""
        return Record({"answer": "Yes" if self.is_free(verdict) else "No"}, "")


async def calibrated(
    setting: Setting, small: dspy.LM, large: dspy.LM, planner: MakePlanner
) -> tuple[rf.Gate, Breakdown]:
    """The gate with the score that accepts most, and the table of all. Goes on where it was stopped.

    Where too few problems are let through to show anything, nothing passes. planner: makes one of a gate.
    """
    passing = await _let_through(setting, small, large, planner(rf.Gate(next(iter(SCORES.values())))))
    samples = await _samples(setting, large, planner, passing)
    found = [_calibrated(name, samples[name], planner) for name in SCORES]
    best = max(found, key=lambda each: each.acceptance)  # the first of equals: it takes fewer log-probabilities
    title = f"Calibration on {len(passing)} of {JUDGED} problems, those that the judge lets through; alpha {ALPHA:g}"
    return best.gate, Breakdown("calibration", title, tuple(each.row for each in found))


async def _let_through(setting: Setting, small: dspy.LM, large: dspy.LM, planner: SpeculativePlanner) -> list[Problem]:
    asked = load(SOURCE, limit=JUDGED)
    settings = settings_of(small, judge=True)
    judged = await run_arm(
        setting, large, f"{FOLDER}/judge", Judging(planner), asked, judge=_let, settings=settings
    )  # fmt: skip
    return [problem for problem, sample in zip(asked, judged.samples, strict=True) if sample.correct]


async def _let(problem: Problem, prediction: Any) -> Verdict:
    """Counts what is let through, right or wrong."""
    return Verdict(correct=required_answer(prediction) == "Yes")


async def _samples(
    setting: Setting, large: dspy.LM, planner: MakePlanner, problems: Sequence[Problem]
) -> dict[str, list[Sample]]:
    """By score, a sample a problem."""
    with RunLines(setting.out / FOLDER / FILE) as lines:
        left = [problem for problem in problems if (problem.id, 0) not in lines.rows]
        setting.say(f"{FOLDER}: the small model on {len(problems)} problems, {len(left)} of them to do")
        for start in range(0, len(left), _AT_ONCE):
            now = left[start : start + _AT_ONCE]
            drawn = await anyio.to_thread.run_sync(partial(_drawn, large, planner, now))
            for problem, row in zip(now, drawn, strict=True):
                lines.keep((problem.id, 0), row)
        rows = [lines.rows[problem.id, 0] for problem in problems]
    return {name: [_sample(row, name) for row in rows] for name in SCORES}


def _drawn(large: dspy.LM, planner: MakePlanner, problems: Sequence[Problem]) -> list[dict[str, Any]]:
    """A row a problem: its scores by name, and whether the answer is right."""
    examples = [dspy.Example(**p.inputs, answer=p.answer).with_inputs(*p.inputs) for p in problems]
    rows: list[dict[str, Any]] = [{} for _ in problems]
    with dspy.context(lm=large):
        for name, score in SCORES.items():
            for row, sample in zip(rows, planner_samples(planner(rf.Gate(score)), examples, _is_right), strict=True):
                row[name] = {"score": None if math.isnan(sample.score) else sample.score, "right": sample.right}
    return rows


def _is_right(example: dspy.Example, found: Any) -> bool:
    return decide(str(found.answer), example.answer) is True


def _sample(row: Mapping[str, Any], name: str) -> Sample:
    held = row[name]
    return Sample(math.nan if held["score"] is None else held["score"], held["right"])


def _calibrated(name: str, samples: Sequence[Sample], planner: MakePlanner) -> Found:
    gate, delta = rf.Gate(SCORES[name]), DELTA / len(SCORES)
    model, least = planner(gate).model, fewest(ALPHA, delta)
    scored = sum(not math.isnan(sample.score) for sample in samples)
    if scored < least:
        calibration = Calibration(
            method="too few samples", digest="", samples=len(samples), model=model, settings=gate.score.settings
        )
        gate.set(None, calibration)
    else:
        calibration = calibrate(gate, samples, alpha=ALPHA, delta=delta, model=model)
    why = "" if gate.threshold is not None else f"{scored} scored, it takes {least}" if scored < least else "none holds"
    row = {
        "score": name,
        "samples": len(samples),
        "right": round(sum(sample.right for sample in samples) / len(samples), 3) if samples else None,
        "threshold": why or f"{gate.threshold:.6g}",
        "accepted": round(calibration.acceptance or 0.0, 3),
    }
    return Found(gate, row)
