"""`reasonflow bench compile`: what the search of `reasonflow compile` is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reasonflow.cli.bench_options import AsJson, EngineOptions
from reasonflow.cli.bench_report import show
from reasonflow.cli.shared_options import Model, Verbose


def compile_search(
    benchmark: Annotated[
        str | None,
        typer.Option(
            help="graphmath:MIX, without a split: its train split is searched on; graphmath:breadth if none is given."
        ),
    ] = None,
    problems: Annotated[int, typer.Option(min=8, help="To search on.")] = 16,
    others: Annotated[int, typer.Option(min=0, help="Of the test split, for what the fronts are worth.")] = 12,
    calls: Annotated[int, typer.Option("--search-calls", min=1, help="Budget of each search.")] = 1000,
    seeds: Annotated[int, typer.Option(min=2, help="Searches of each kind.")] = 5,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keeps all calls; the same command goes on there.")
    ] = None,
    as_json: AsJson = False,
    model: Model = "embedded",
    engine_option: EngineOptions = None,
    verbose: Verbose = False,
) -> None:
    """The search of `reasonflow compile` over PDR's shape, against random search with as many calls and a grid by hand.

    Hypervolume of the fronts in accuracy, sequential and total tokens, with an interval over the seeds; and how many
    of twelve settings that a person would try dominate a point of the fronts. Every run is made on the engine once,
    and charged to every search that asks for it.

    Examples:

      reasonflow bench compile --out runs/bench-compile

      reasonflow bench compile --benchmark graphmath:noise --problems 32 --search-calls 2000 --model Qwen/Qwen3-8B

      reasonflow bench compile --seeds 3 --json
    """
    from reasonflow.cli.options import open_lm, parse_engine_options
    from reasonflow.evals.performance.compile_search import Sizes, measure_compile
    from reasonflow.evals.performance.conditions import ROOMY, engine_options

    sizes = Sizes(problems=problems, others=others, calls=calls, seeds=seeds)
    options = engine_options(parse_engine_options(engine_option or ()), ROOMY)
    lm = open_lm(model, verbose=verbose, engine_options=options)
    show(measure_compile(lm, sizes, benchmark=benchmark, out=out, say=say).report(), as_json)


def say(text: str) -> None:
    """What is under way."""
    typer.echo(text, err=True)
