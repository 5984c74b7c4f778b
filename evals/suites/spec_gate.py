"""The part `gate` of the suite `speculation`: whether calibrated gates keep their promise, over 500 splits.

Of what the twin answers at once, and how sure it is of that: real scores, of problems that need no tool. Beside it a
population whose risk is known, drawn anew for each split.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import islice
from typing import NamedTuple

import anyio.to_thread
import dspy

import reasonflow as rf
from reasonflow.errors import InputError
from reasonflow.evals.curriculum.tooling import needs_tools
from reasonflow.evals.dataset import Problem
from reasonflow.evals.performance.gate_samples import Population
from reasonflow.evals.performance.gate_splits import AtAlpha, measure_splits
from reasonflow.evals.statistics import Interval
from reasonflow.evals.suites.closing import close
from reasonflow.evals.suites.findings import Findings, Goal, Row
from reasonflow.evals.suites.labelled import is_right, labelled
from reasonflow.evals.suites.suite import Setting
from reasonflow.evals.tasks.problems import Item, parse_source, stream
from reasonflow.gates.scores import TokenProbability
from reasonflow.optimizers.gates import Sample
from reasonflow.optimizers.planner_samples import planner_samples
from reasonflow.programs.speculative import SpeculativePlanner
from reasonflow.runtime.engines import model_behind

FOLDER = "gate/samples"
SOURCE = "graphmath:tools,seed=3"
"""Other problems than any that a planner is calibrated or tested on."""
SAMPLES = 1_500
CALIBRATION = 750
"""Of each split, here and of the population. The others are tested on."""
SPLITS = 500
ALPHA = DELTA = 0.1
DRAWN = 4_000
"""Of the population, for each split."""
GOALS = (
    Goal(figure="violation_share", most=0.13),
    Goal(figure="acceptance_over_hindsight", least=0.5),
)


class _Counted(NamedTuple):
    """What the splits showed, or why they could not be made."""

    found: AtAlpha | None
    why: str


async def measure(setting: Setting) -> Findings:
    """Its rows, goals and figures."""
    samples = await _samples(setting)
    setting.say(f"gate: {SPLITS} splits of {len(samples)} samples, and of as many draws of a population")
    real = await anyio.to_thread.run_sync(partial(_counted, samples))
    drawn = await anyio.to_thread.run_sync(partial(_counted, Population()))
    scored = [sample for sample in samples if not math.isnan(sample.score)]
    return Findings(
        rows=(*_rows("gate", real, len(samples)), *_rows("population", drawn, DRAWN)),
        goals=GOALS,
        more={
            **_figures("", real.found),
            **_figures("population_", drawn.found),
            "gate_scored_share": len(scored) / len(samples),
            "gate_right_share": sum(sample.right for sample in samples) / len(samples),
        },
    )


async def _samples(setting: Setting) -> list[Sample]:
    """What the twin answers at once."""
    twin = setting.open(setting.small)
    try:
        (samples,) = await labelled(
            setting,
            twin,
            FOLDER,
            _planner(twin),
            free(SAMPLES),
            partial(_draw, twin),
            settings={"small": model_behind(twin) or twin.model},
        )
    finally:
        await close(twin)
    return samples


def free(count: int) -> list[Problem]:
    """The first problems that need no tool."""
    found = (item for item in stream(parse_source(SOURCE)) if not needs_tools(item))
    return [_problem(item) for item in islice(found, count)]


def _problem(item: Item) -> Problem:
    return Problem(id=item.address, inputs={"problem": item.text}, answer=str(item.answer), source=SOURCE)


def _planner(twin: dspy.LM) -> SpeculativePlanner:
    """Its agent is never asked."""
    return SpeculativePlanner(gate=rf.Gate(TokenProbability()), agent=rf.ChainOfThought(), small=twin)


def _draw(twin: dspy.LM, examples: Sequence[dspy.Example], seed: int) -> list[list[Sample]]:
    with dspy.context(lm=twin):
        return [planner_samples(_planner(twin), examples, is_right)]


def _counted(samples: Sequence[Sample] | Population) -> _Counted:
    try:
        found = measure_splits(
            samples, alpha=ALPHA, delta=DELTA, splits=SPLITS, calibration=CALIBRATION, alphas=(), drawn=DRAWN
        )
    except InputError as error:  # so few answers have a score that a split holds too few
        return _Counted(None, error.what)
    return _Counted(found.asked, "")


def _rows(task: str, counted: _Counted, samples: int) -> tuple[Row, Row]:
    found, prefix = counted.found, "" if task == "gate" else f"{task}_"
    what = f"alpha {ALPHA:g}, {samples:,} samples"
    none = "" if found is None else f"nothing passes in {found.nothing_passes_share:.1%} of the splits"
    nowhere = found is not None and found.acceptance_over_hindsight is None
    return (
        Row(
            task=task,
            arm="splits that violate, beyond chance",
            figure=f"{prefix}violation_share",
            result=None if found is None else Interval(found.violation_share_beyond_chance, *found.beyond_interval),
            setting=counted.why or f"{what}; {none}",
            problems=SPLITS,
        ),
        Row(
            task=task,
            arm="accepted over hindsight",
            figure=f"{prefix}acceptance_over_hindsight",
            result=None if found is None else found.acceptance_over_hindsight_interval,
            setting=counted.why or ("hindsight accepts nothing in any split" if nowhere else what),
            problems=SPLITS,
        ),
    )


def _figures(prefix: str, found: AtAlpha | None) -> dict[str, float | None]:
    true = None if found is None else found.violation_share_of_population
    return {
        f"{prefix}violation_share_raw": None if found is None else found.violation_share,
        f"{prefix or 'gate_'}nothing_passes_share": None if found is None else found.nothing_passes_share,
        f"{prefix or 'gate_'}acceptance": None if found is None else found.acceptance.middle,
        f"{prefix or 'gate_'}hindsight": None if found is None else found.hindsight.middle,
        **({f"{prefix}violation_share_true": true} if prefix else {}),
    }
