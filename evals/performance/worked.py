"""Worked problems as a long input of their own, which every call of a program reads: what layouts are about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from reasonflow.errors import InputError
from reasonflow.evals.dataset import Problem, problem_of, read_rows

FIELD = "examples"


def read_worked(path: str | Path, count: int) -> str:
    """The first `count` rows of a JSON-lines file that have a `solution`, as one text.

    Raises InputError where there are fewer, and as `read_problems` does.
    """
    path = Path(path)
    rows = ((line, row) for line, row in read_rows(path) if row.get("solution"))
    texts = []
    for line, row in islice(rows, count):
        problem = problem_of(row, where=f"{path}:{line}", default_id=f"line-{line}", source=path.stem)
        (text,) = problem.inputs.values()
        texts.append(f"Problem: {text}\nSolution: {row['solution']}\nAnswer: {problem.answer}")
    if len(texts) < count:
        raise InputError(
            f"{path} has {len(texts)} worked problems, and {count} are wanted",
            why="only rows with a solution count",
            fix="lower the number, or name a file with more of them",
        )
    return "\n\n".join(texts)


def with_worked(problems: Sequence[Problem], text: str) -> list[Problem]:
    """The problems, each with these worked ones in front as an input `examples`. Raises InputError where it has one."""
    for problem in problems:
        if FIELD in problem.inputs:
            raise InputError(f"problem {problem.id!r} has an input {FIELD!r} of its own", fix="leave the examples out")
    return [replace(problem, inputs={FIELD: text, **problem.inputs}) for problem in problems]
