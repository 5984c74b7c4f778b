"""Running a sweep: every point an evaluation in a folder of its own, then the line they have to beat."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import dspy
from rich.console import Console

import reasonflow as rf
from reasonflow.evals.at_k.matrix import matrix_of
from reasonflow.evals.at_k.vote_curve import VoteCurve
from reasonflow.evals.dataset import Problem, signature_of
from reasonflow.evals.judging import Judge
from reasonflow.evals.manifest import claimed
from reasonflow.evals.progress import Progress
from reasonflow.evals.runner import evaluate, limited
from reasonflow.evals.samples import Sample
from reasonflow.evals.sweep.measured import Swept, line_of, mean, measured
from reasonflow.evals.sweep.points import Point

FILE = "sweep.json"
MOST_LINE = 64
"""Samples a problem that the line has at most where nobody says how many."""
PRICED = 16
"""Problems on which the price of one sample is measured, before the line's samples are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweeping:
    """What all points of a sweep share."""

    lm: dspy.LM
    problems: Sequence[Problem]
    samples: int
    """Runs of each problem, at each point."""
    seed: int
    out: Path
    benchmark: str
    console: Console
    concurrency: int | None = None
    line: int | None = None
    """Samples a problem that the line is drawn from; 0: no line; None: as many as the dearest point spends."""
    judge: Judge | None = None
    """What says what an answer is worth; None: it is compared with the problem's."""


async def sweep(setting: Sweeping, points: Sequence[Point], axes: Sequence[str]) -> Swept:
    """Measure all points and the line. The same call goes on where one was stopped: finished points are only read.

    The line is self-consistency over samples of `SelfConsistency` with n=1, without a budget: one evaluation of N
    samples a problem gives its points for 1 to N. Leaves the figures in `sweep.json`.
    Raises what evaluations raise; for a budget below any answer before the first of them runs, and InputError where
    another process has the folder.
    """
    with dspy.context(lm=setting.lm):
        for point in points:
            limited(point.program, point.budget).explain()  # a budget too small for any answer is found here
    with claimed(setting.out):
        found = [await evaluated(setting, point, f"points/{point.folder}") for point in points]
        drawn, folder = await drawn_line(setting, found)
        curve = VoteCurve(matrix_of(drawn), seed=setting.seed) if drawn else None
        swept = Swept(
            axes=tuple(axes),
            points=tuple(
                measured(
                    point.name, point.place, samples, str(setting.out / "points" / point.folder), curve, setting.seed
                )
                for point, samples in zip(points, found, strict=True)
            ),
            line=line_of(curve) if curve else (),
            drawn=curve.most if curve else 0,
            line_out=str(setting.out / folder) if curve else "",
        )
        (setting.out / FILE).write_text(json.dumps(swept.to_json(), indent=2, ensure_ascii=False) + "\n", "utf-8")
    return swept


async def drawn_line(setting: Sweeping, found: Sequence[Sequence[Sample]]) -> tuple[tuple[Sample, ...], str]:
    """The line's samples and their folder; nothing where none is wanted."""
    if setting.line == 0:
        return (), ""
    once = Point(
        name="line",
        place=(),
        program=rf.SelfConsistency(signature_of(setting.problems[0]), n=1),
        settings={"n": 1},
        budget=None,
    )
    count = setting.line
    if count is None:
        priced = await evaluated(setting, once, "line-price", samples=1, problems=setting.problems[:PRICED])
        count = line_samples(
            [mean(sample.total_tokens for sample in samples) for samples in found],
            mean(sample.total_tokens for sample in priced),
        )
    return await evaluated(setting, once, f"line-{count}", samples=count), f"line-{count}"


def line_samples(spent: Sequence[float | None], sample: float | None) -> int:
    """How many samples spend what the dearest point spends, rounded up; from 2 to MOST_LINE.

    spent: mean total tokens of the points. sample: of one sample; None where nothing is known of it.
    """
    dearest = max((tokens for tokens in spent if tokens is not None), default=0.0)
    return min(MOST_LINE, max(2, ceil(dearest / sample))) if sample else 2


async def evaluated(
    setting: Sweeping,
    point: Point,
    folder: str,
    *,
    samples: int | None = None,
    problems: Sequence[Problem] | None = None,
) -> tuple[Sample, ...]:
    """The samples of one evaluation of the sweep, or of its record."""
    problems, samples = problems or setting.problems, samples or setting.samples
    progress = Progress(setting.console, len(problems) * samples, folder.rpartition("/")[2])
    with progress:
        evaluation = await evaluate(
            point.program,
            problems,
            lm=setting.lm,
            samples=samples,
            seed=setting.seed,
            out=setting.out / folder,
            concurrency=setting.concurrency,
            budget=point.budget,
            judge=setting.judge,
            audience=progress.audience,
            benchmark=setting.benchmark,
            settings=point.settings,
        )
    return evaluation.samples
