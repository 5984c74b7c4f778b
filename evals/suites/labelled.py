"""Labelled samples that gates are calibrated on, drawn batch by batch: a line each, found again by a later session."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import anyio.to_thread
import dspy

from reasonflow.evals.comparison import decide
from reasonflow.evals.dataset import Problem
from reasonflow.evals.manifest import claimed, describe, write_or_match
from reasonflow.evals.run_lines import RunLines
from reasonflow.evals.suites.suite import Setting
from reasonflow.optimizers.gates import Sample

FILE = "labelled.jsonl"
BATCH = 50
"""Problems between two lines: what a session that is stopped has to draw again."""

Draw = Callable[[Sequence[dspy.Example], int], Sequence[Sequence[Sample]]]
"""Samples of each gate, of some examples and with a seed. It is called in a thread."""


async def labelled(
    setting: Setting,
    lm: dspy.LM,
    folder: str,
    program: dspy.Module,
    problems: Sequence[Problem],
    draw: Draw,
    *,
    settings: Mapping[str, Any] | None = None,
    batch: int = BATCH,
) -> list[list[Sample]]:
    """The samples of each gate, over all problems. What an earlier session has drawn stays as it is.

    program: whose gates they are for; with `settings` it says what the folder is of. batch: problems between two lines,
    which are drawn at once. Raises InputError for a folder of something else, and while another process writes to it.
    """
    where = setting.out / folder
    made_with = {**(settings or {}), "batch": batch}
    manifest = describe(program, problems, lm=lm, samples=1, seed=setting.seed, benchmark=folder, settings=made_with)
    batches = [problems[start : start + batch] for start in range(0, len(problems), batch)]
    with claimed(where):
        write_or_match(where, manifest)
        with RunLines(where / FILE) as lines:
            left = [place for place, each in enumerate(batches) if (each[0].id, 0) not in lines.rows]
            done = sum(len(each) for place, each in enumerate(batches) if place not in left)
            setting.say(f"{folder}: samples to calibrate on, {done} of {len(problems)} problems are there")
            for place in left:
                # Whoever interrupts it need not wait for the batch: its engine is closed, which ends the run.
                made = partial(draw, _examples(batches[place]), setting.seed + place)
                found = await anyio.to_thread.run_sync(made, abandon_on_cancel=True)
                lines.keep((batches[place][0].id, 0), {"gates": [[_row(sample) for sample in gate] for gate in found]})
                done += len(batches[place])
                setting.say(f"{folder}: {done}/{len(problems)}")
            rows = [lines.rows[each[0].id, 0]["gates"] for each in batches]
    return [[_sample(each) for row in rows for each in row[gate]] for gate in range(len(rows[0]))]


def is_right(example: dspy.Example, found: Any) -> bool:
    """Whether the answer is the example's, as numbers."""
    return found.answer is not None and decide(str(found.answer), example.answer) is True


def _examples(problems: Sequence[Problem]) -> list[dspy.Example]:
    return [dspy.Example(**each.inputs, answer=each.answer).with_inputs(*each.inputs) for each in problems]


def _row(sample: Sample) -> tuple[float | None, bool]:
    """JSON has no number that is none."""
    return None if math.isnan(sample.score) else sample.score, sample.right


def _sample(row: Sequence[Any]) -> Sample:
    score, right = row
    return Sample(math.nan if score is None else score, right)
