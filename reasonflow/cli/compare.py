"""`reasonflow compare`: recorded evaluations beside each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from reasonflow.errors import InputError

WIDTH = 120
"""Columns of the table where standard output is no terminal."""


def compare(
    runs: Annotated[
        list[Path], typer.Argument(metavar="BASELINE OTHER...", help="Folders of reasonflow eval --out, two or more.")
    ],
    changed: Annotated[
        bool, typer.Option("--changed", help="List the problems that came out differently, too.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Compare recorded evaluations with the first of them, on the problems that both have.

    Differences are paired: problem by problem, so that what makes one hard for both counts for neither. Where seeds or
    problems differ, or an evaluation is unfinished, a warning says so. Nothing runs, and no folder is touched.

    Of several samples a problem it shows pass@k, maj@k and mG-pass, and what a vote over a run's samples scores with
    the tokens that the other run spends.

    Examples:

      reasonflow compare runs/a runs/b

      reasonflow compare runs/a runs/b runs/c --changed

      reasonflow compare runs/a runs/b --json
    """
    if len(runs) < 2:
        raise InputError("one run has nothing to compare it with", fix="name two folders or more, the baseline first")
    twice = next((run for run in runs if runs.count(run) > 1), None)
    if twice is not None:
        raise InputError(f"{twice} is named twice", fix="name different folders")
    from rich.console import Console

    from reasonflow.evals.compare import json as plain
    from reasonflow.evals.compare.comparison import compare as compared
    from reasonflow.evals.compare.run_folder import read_run
    from reasonflow.evals.compare.table import lines, table

    baseline, *others = map(read_run, runs)
    found = [compared(baseline, other) for other in others]
    if as_json:
        print(json.dumps(plain.as_json(found, changed=changed), ensure_ascii=False))
        return
    console = Console()
    if not console.is_terminal:  # a file is as wide as it has to be
        console = Console(width=WIDTH)
    for each in found:
        console.print(table(each))
        for line in lines(each, changed=changed):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
