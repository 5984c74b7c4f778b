"""`rf.transfer`: a compiled program measured on problems that its compile has not seen."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import dspy
from rich.console import Console

from reasonflow.backends.dspy_lm_engines import runtime_behind
from reasonflow.backends.embedded import NAMES as BUILT_IN
from reasonflow.errors import InputError
from reasonflow.evals.at_k.matrix import matrix_of
from reasonflow.evals.at_k.vote_curve import VoteCurve
from reasonflow.evals.compare.run_folder import read_run
from reasonflow.evals.dataset import Problem
from reasonflow.evals.evaluate import problem_of_example
from reasonflow.evals.judging import Metric, by_metric
from reasonflow.evals.manifest import claimed
from reasonflow.evals.metrics import math_equal
from reasonflow.evals.sweep.points import Point
from reasonflow.evals.sweep.running import Sweeping, drawn_line, evaluated
from reasonflow.evals.transfer.measured import Transfer, compared
from reasonflow.language.program import Program
from reasonflow.optimizers.compile_division import mark
from reasonflow.optimizers.gate_samples import gates_of
from reasonflow.optimizers.gates import shut
from reasonflow.prompts.styles import answer_field

FILE = "transfer.json"


async def transfer(
    compiled: Program,
    before: Program,
    testset: Sequence[dspy.Example],
    metric: Metric = math_equal,
    *,
    lm: dspy.LM | None = None,
    samples: int = 1,
    seed: int = 0,
    out: str | Path | None = None,
    concurrency: int | None = None,
    line: int | None = None,
    show_progress: bool | None = None,
) -> Transfer:
    """What `rf.compile` has made, against the program it came from and against votes that spend as much.

    Both meet the same problems with the same seeds; the difference is paired, its interval over problems. The vote is
    self-consistency at equal total and at equal sequential tokens, all of it out of the same samples.

    testset: examples with their inputs named, none of which the compile has used.
    metric, lm, samples, seed, out, concurrency, show_progress: as of `rf.evaluate`.
    line: samples a problem that the votes are drawn from; None: as many as the dearer program spends, at most 64; 0:
        no vote.
    Raises InputError for problems that the compile has used, and what evaluations raise.
    """
    console = Console(stderr=True, quiet=show_progress is False)
    examples = {str(index): example for index, example in enumerate(testset)}
    problems = [_problem(id, example, compiled) for id, example in examples.items()]
    with _folder(out) as folder:
        setting = Sweeping(
            lm=lm or dspy.settings.lm,
            problems=problems,
            samples=samples,
            seed=seed,
            out=folder,
            benchmark="testset",
            console=console,
            concurrency=concurrency,
            line=line,
            judge=by_metric(metric, examples),
        )
        return await measure(setting, compiled, before)


async def measure(setting: Sweeping, compiled: Program, before: Program) -> Transfer:
    """The report, on the problems of `setting`; it is left in `transfer.json`. Raises as `transfer` does."""
    check_unseen(compiled, setting.problems)
    before, shut_ones = _runnable(before)
    with claimed(setting.out):
        points = [_point("before", before), _point("compiled", compiled)]
        found = [await evaluated(setting, point, point.folder) for point in points]
        drawn, line = await drawn_line(setting, found)
        report = compared(
            read_run(setting.out / "before"),
            read_run(setting.out / "compiled"),
            VoteCurve(matrix_of(drawn), seed=setting.seed) if drawn else None,
            str(setting.out / line) if drawn else "",
            [*notes_on(setting.lm, compiled), *shut_ones],
            setting.seed,
        )
        text = json.dumps(report.to_json(), indent=2, ensure_ascii=False)
        (setting.out / FILE).write_text(text + "\n", encoding="utf-8")
    return report


def check_unseen(compiled: Program, problems: Sequence[Problem]) -> None:
    """Raises InputError for no problems, and for some that the compile of this program has used."""
    if not problems:
        raise InputError("there are no problems to test on", fix="pass at least one")
    used = set((compiled.compile_report or {}).get("used", ()))
    seen = [problem.id for problem in problems if mark(dict(problem.inputs)) in used]
    if seen:
        raise InputError(
            f"the compile has used {len(seen)} of the {len(problems)} problems, {seen[0]!r} among them",
            why="what a program was made from says nothing of how good it is",
            fix="test on others",
        )


def notes_on(lm: dspy.LM, compiled: Program) -> list[str]:
    """What such a model can show, and whether it is known what the compile has seen."""
    runtime = runtime_behind(lm)
    model = {} if runtime is None else dict(runtime.identity)
    notes = []
    if model.get("engine") == "scripted":
        notes.append("measured on a scripted engine: it shows that everything works together, and nothing of a model")
    elif model.get("model") in BUILT_IN:
        notes.append(
            f"measured on the built-in model {model['model']!r}: it shows the plumbing, and what a topology gains;"
            " goals for prompts are not shown by it: they take a model that follows instructions"
        )
    if "used" not in (compiled.compile_report or {}):
        notes.append("the program does not say what its compile has used: that the problems are new is not checked")
    return notes


def _runnable(before: Program) -> tuple[Program, list[str]]:
    """The program as it came; gates that had no threshold yet let nothing pass, and a note says so."""
    without = [name for name, gate in gates_of(before).items() if gate.threshold is None and gate.calibration is None]
    if not without:
        return before, []
    copied: Program = before.deepcopy()
    for name, gate in gates_of(copied).items():
        if name in without:
            shut(gate)
    return copied, [f"before it was compiled the program could not run: nothing passes its {', '.join(without)} there"]


def _point(name: str, program: Program) -> Point:
    return Point(name=name, place=(), program=program, settings={}, budget=None)


def _problem(id: str, example: dspy.Example, program: Program) -> Problem:
    """With the answer in the field that the program gives it in."""
    found = problem_of_example(id, example)
    field = "answer" if program.signature is None else answer_field(program.signature)
    answer: Any = example.get(field)
    return replace(found, output=field, answer="" if answer is None else str(answer))


@contextmanager
def _folder(out: str | Path | None) -> Iterator[Path]:
    """Where it is recorded; without a name until the report is made."""
    if out is not None:
        yield Path(out)
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)
