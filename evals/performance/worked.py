"""Worked problems as a long input of their own, which every call of a program reads: what layouts are about."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from reasonflow.errors import InputError
from reasonflow.evals.dataset import Problem

FIELD = "examples"


def read_worked(path: str | Path, count: int) -> str:
    """The first `count` rows of a JSON-lines file that have a `solution`, as one text.

    Raises InputError where there are fewer.
    """
    texts: list[str] = []
    try:
        with Path(path).open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if len(texts) < count:
                    texts += _shown(line, f"{path}, line {number}")
    except OSError as error:
        raise InputError(f"{path} cannot be read", why=str(error), fix="name a file of JSON lines") from error
    if len(texts) < count:
        raise InputError(
            f"{path} has {len(texts)} worked problems, and {count} are wanted",
            why="only rows with a solution count",
            fix="lower the number, or name a file with more of them",
        )
    return "\n\n".join(texts)


def _shown(line: str, where: str) -> list[str]:
    """The row as it is shown; nothing for one without a solution."""
    try:
        row = json.loads(line)
        if not row.get("solution"):
            return []
        return [f"Problem: {row['problem']}\nSolution: {row['solution']}\nAnswer: {row['answer']}"]
    except (ValueError, AttributeError, KeyError) as error:
        raise InputError(
            f"{where} is no worked problem",
            why=f"{type(error).__name__}: {error}",
            fix="write one JSON object a line, with problem, solution and answer",
        ) from error


def with_worked(problems: Sequence[Problem], text: str) -> list[Problem]:
    """The problems, each with these worked ones in front as an input `examples`. Raises InputError where it has one."""
    for problem in problems:
        if FIELD in problem.inputs:
            raise InputError(f"problem {problem.id!r} has an input {FIELD!r} of its own", fix="leave the examples out")
    return [replace(problem, inputs={FIELD: text, **problem.inputs}) for problem in problems]
