"""`reasonflow bench prompts`: what a compile of prompts computes, beside plain DSPy."""

from __future__ import annotations

from typing import Annotated

import typer

from reasonflow.cli.bench_report import show
from reasonflow.cli.shared_options import Benchmark, Data, Model, Seed, Verbose


def prompts(
    by: Annotated[str, typer.Option("--prompts-by", metavar="NAME", help="Of DSPy's: gepa, miprov2.")] = "gepa",
    benchmark: Benchmark = None,
    data: Data = None,
    limit: Annotated[
        int, typer.Option(min=4, help="At most so many problems: half to learn from, half to measure on.")
    ] = 12,
    trials: Annotated[int, typer.Option(min=1, help="Candidates that are measured.")] = 6,
    context_tokens: Annotated[
        int, typer.Option(min=0, help="Length of the context, a text beside each problem; 0: none.")
    ] = 1536,
    seed: Seed = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    model: Model = "embedded",
    engine_option: Annotated[
        list[str] | None,
        typer.Option("--engine-option", metavar="KEY=VALUE", help="Option of the engine; repeat for more."),
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Prompt tokens computed while prompts are tuned: plain DSPy over ours, on one engine, from an empty cache each.

    PDR in rounds of 4 and 2, by one of DSPy's optimizers: as plain DSPy predictors in DSPy's layout, as rf.PDR, and by
    rf.compile's tuning of prompts. All try the same candidates on the same examples.

    Examples:

      reasonflow bench prompts --json

      reasonflow bench prompts --prompts-by miprov2 --context-tokens 0
    """
    from reasonflow.cli.options import open_lm, parse_engine_options
    from reasonflow.evals.benchmarks import load
    from reasonflow.evals.performance.conditions import engine_options
    from reasonflow.evals.performance.prompt_compile import measure_prompts

    # What a compile reads again is there for a while: the other benchmarks' small cache would forget it.
    options = engine_options({"num_gpu_blocks_override": None, **parse_engine_options(engine_option or ())})
    lm = open_lm(model, verbose=verbose, engine_options={k: v for k, v in options.items() if v is not None})
    measured = measure_prompts(
        load(benchmark, data=data, limit=limit),
        lm,
        by=by,  # type: ignore[arg-type]  # checked there
        context_tokens=context_tokens,
        trials=trials,
        seed=seed,
        say=lambda text: typer.echo(text, err=True),
    )
    show(measured.report(), as_json)
