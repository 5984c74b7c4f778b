"""`reasonflow sweep`: a program at many settings, as a curve of accuracy against tokens."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reasonflow.cli.grids import parse_budget_grid, parse_grid
from reasonflow.cli.options import LOCAL, build, open_lm, parse_settings, runs_folder
from reasonflow.cli.shared_options import (
    ApiKeyEnv,
    Benchmark,
    Concurrency,
    Data,
    Engine,
    Limit,
    MaxTokens,
    Model,
    Out,
    Picture,
    ProgramName,
    Samples,
    Seed,
    Settings,
    Temperature,
    TopP,
    Verbose,
)
from reasonflow.errors import InputError

if TYPE_CHECKING:
    from reasonflow.plan.budget import Budget

WIDTH = 140
"""Columns of the tables where standard output is no terminal."""


def sweep(
    program: ProgramName,
    grid: Annotated[
        list[str] | None,
        typer.Option(
            "--grid", metavar="KEY=V1,V2", help="Values of a constructor option, lists with ; between; repeat for more."
        ),
    ] = None,
    budget_grid: Annotated[
        list[str] | None,
        typer.Option("--budget-grid", metavar="NAME=V1,V2", help="Limits of each run, none among them; as --budget."),
    ] = None,
    settings: Settings = None,
    budget: Annotated[
        str | None,
        typer.Option(metavar="LIMITS", help="What each run may spend at every point: sequential=4k,calls=32."),
    ] = None,
    benchmark: Benchmark = None,
    data: Data = None,
    model: Model = "embedded",
    engine: Engine = LOCAL,
    api_key_env: ApiKeyEnv = None,
    limit: Limit = None,
    samples: Samples = 1,
    line: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Samples a problem behind the self-consistency line, 0 for no line; what the dearest point spends, "
            "at most 64, if not given.",
        ),
    ] = None,
    seed: Seed = 0,
    out: Out = None,
    picture: Picture = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
    temperature: Temperature = None,
    top_p: TopP = None,
    max_tokens: MaxTokens = None,
    concurrency: Concurrency = None,
    verbose: Verbose = False,
) -> None:
    """Measure a program over a grid of settings: accuracy against sequential and total tokens, with intervals.

    Every combination of the --grid and --budget-grid values is an evaluation in a folder of its own: the same command
    goes on where one was stopped, and one with more values measures the new points alone.

    The line to beat is self-consistency with the same tokens. One evaluation of N samples a problem gives all of it, as
    the mean over the ways to take n of N; the table says where it has no more samples.

    Examples:

      reasonflow sweep self_consistency --grid n=1,2,4,8 --limit 20

      reasonflow sweep pdr --grid "widths=2;4;4,2" --benchmark graphmath:breadth --limit 40 --picture pdr.png

      reasonflow sweep sequential_refine --grid rounds=1,2,4 --budget-grid total=2k,4k,none --out runs/refine --json
    """
    import anyio
    from rich.console import Console

    from reasonflow import programs
    from reasonflow.evals.benchmarks import DEFAULT, load
    from reasonflow.evals.dataset import signature_of
    from reasonflow.evals.pictures import check_picture
    from reasonflow.evals.runner import limited
    from reasonflow.evals.sweep import running
    from reasonflow.evals.sweep.picture import draw
    from reasonflow.evals.sweep.points import points_of
    from reasonflow.evals.sweep.table import lines, tables

    # Everything that can be wrong with the command is found before the engine's half minute.
    if picture is not None:
        check_picture(picture)
    made = programs.find(program)
    if programs.searches(made):
        raise InputError(f"{program} searches, and a sweep has no corpus", fix="measure it with reasonflow eval")
    if not grid and not budget_grid:
        raise InputError("there is nothing to sweep over", fix="give --grid KEY=V1,V2 or --budget-grid total=2k,4k")
    fixed, axes, limits = parse_settings(made, settings or ()), parse_grid(made, grid or ()), budget_grid or ()
    both = next((axis.name for axis in axes if axis.name in fixed), None)
    if both is not None:
        raise InputError(f"{both} is in --set and in --grid", fix="leave one of them out")
    budget_axes = parse_budget_grid(limits)
    problems = load(benchmark, data=data, limit=limit)
    signature = signature_of(problems[0])

    def program_of(arguments: Mapping[str, Any]) -> Any:
        return build(program, signature, arguments)

    points = points_of(axes, budget_axes, program_of, fixed, lambda words: _budget(budget, words))
    for point in points:
        limited(point.program, point.budget).explain()
    sources = (benchmark, None if data is None else data.stem)
    name = "-".join(source for source in sources if source is not None) or DEFAULT
    lm = open_lm(
        model,
        engine=engine,
        api_key_env=api_key_env,
        temperature=temperature,
        top_p=top_p,
        max_tokens=max_tokens,
        verbose=verbose,
    )
    talk = Console(stderr=True)
    setting = running.Sweeping(
        lm=lm,
        problems=problems,
        samples=samples,
        seed=seed,
        out=out or runs_folder("sweep", program, name, model, str(seed)),
        benchmark=name,
        console=talk,
        concurrency=concurrency,
        line=line,
    )
    title = f"{program} on {name} with {model}: {len(problems)} problems × {samples}, seed {seed}"
    talk.print(f"{title}: {len(points)} points → {setting.out}", highlight=False, markup=False, soft_wrap=True)
    try:
        found = anyio.run(running.sweep, setting, points, [axis.name for axis in (*axes, *budget_axes)])
    except KeyboardInterrupt:
        print(f"what has ended is in {setting.out}; the same command goes on from there", file=sys.stderr)
        raise
    if picture is not None:
        draw(found, picture, title)
    if as_json:
        about = {"program": program, "benchmark": name, "model": model, "seed": seed, "problems": len(problems)}
        written = {"out": str(setting.out), "picture": picture and str(picture)}
        print(json.dumps({**about, "samples": samples, **found.to_json(), **written}, ensure_ascii=False))
        return
    console = Console()
    if not console.is_terminal:  # a file is as wide as it has to be
        console = Console(width=WIDTH)
    for table in tables(title, found):
        console.print(table)
    for said in lines(found):
        console.print(said, highlight=False, markup=False, soft_wrap=True)


def _budget(fixed: str | None, words: Iterable[str]) -> Budget | None:
    """The budget of one point; None where nothing limits it. Raises InputError for a limit that is given twice."""
    from reasonflow.plan.budget import Budget

    limits = [*([fixed] if fixed else []), *words]
    return Budget.parse(",".join(limits)) if limits else None
