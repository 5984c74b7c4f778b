"""`reasonflow eval --suite NAME`: a table of several programs on several tasks."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import typer

from reasonflow.cli.options import open_lm, runs_folder
from reasonflow.errors import InputError

SHARE = 0.4
"""Of a GPU's memory, for each of two engines: a quarter of what they leave is for whatever else the device holds."""
TAKEN = frozenset(
    {"suite", "model", "limit", "seed", "out", "parts", "data", "small", "as_json", "concurrency", "verbose"}
)
"""Options of `reasonflow eval` that mean something to a suite."""

WIDTH = 200
"""Columns of the table where standard output is no terminal."""


def run_suite(
    context: typer.Context,
    name: str,
    *,
    model: str,
    limit: int | None,
    seed: int,
    out: Path | None,
    parts: list[str] | None,
    data: Path | None,
    small: str | None,
    as_json: bool,
    concurrency: int | None,
    verbose: bool,
) -> None:
    """Run the suite and print its table, or one JSON object. Raises UnknownName, and InputError for other options."""
    import anyio
    from rich.console import Console

    from reasonflow.evals import suites
    from reasonflow.evals.suites.suite import Setting
    from reasonflow.evals.suites.table import tables

    suite = suites.find(name)
    refuse_others(context)
    suite.check_data(data)
    model = model if _given(context, "model") else suite.model
    small = small or suite.small
    suite.check_small(small, model)
    limit = limit or suite.limit
    setting = Setting(
        open=partial(open_lm, verbose=verbose, engine_options=beside_another() if suite.small else None),
        model=model,
        limit=limit,
        seed=seed,
        out=out
        or default_folder(
            suite.name,
            limit,
            seed,
            "" if model == suite.model else model,
            data,
            "" if small == suite.small else small,
        ),
        console=Console(stderr=True),
        parts=tuple(dict.fromkeys(parts or ())),
        concurrency=concurrency,
        data=data,
        small=small,
    )
    beside = f" and {small}" if small else ""
    setting.say(f"suite {suite.name} with {model}{beside}: {limit} problems a task → {setting.out}")
    try:
        found = anyio.run(suite.make, setting)
    except KeyboardInterrupt:
        print(f"what has ended is in {setting.out}; the same command goes on from there", file=sys.stderr)
        raise
    if as_json:
        print(json.dumps(suite.to_json(setting, found), ensure_ascii=False))
        return
    console = Console()
    if not console.is_terminal:  # a file is as wide as it has to be
        console = Console(width=WIDTH)
    for table in tables(f"suite {suite.name}, {model}, {limit} problems a task, seed {seed}", found):
        console.print(table)


def refuse_others(context: typer.Context) -> None:
    """Raise InputError naming the first argument or option that is given and means nothing to a suite."""
    for parameter in context.command.params:
        if parameter.name is not None and parameter.name not in TAKEN and _given(context, parameter.name):
            named = parameter.opts[0] if parameter.param_type_name == "option" else "a program"
            raise InputError(
                f"{named} has no meaning with --suite",
                why="a suite has programs, tasks and settings of its own",
                fix="leave it out, or leave --suite out and name a program",
            )


def _given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"  # newer versions of typer bring a click of their own


def beside_another() -> dict[str, Any]:
    """Options of an engine that leaves a second one its room: on a GPU one takes nearly all of it otherwise."""
    from reasonflow.backends import facts

    return {"gpu_memory_utilization": SHARE} if facts.device() == "cuda" else {}


def default_folder(
    suite: str, limit: int, seed: int, model: str = "", data: Path | None = None, small: str = ""
) -> Path:
    """`runs/suite-NAME-LIMIT-SEED`, with models and problems behind it where they are not the suite's own."""
    own = [*([model] if model else []), *([small] if small else []), *([data.stem] if data else [])]
    return runs_folder("suite", suite, str(limit), str(seed), *own)
