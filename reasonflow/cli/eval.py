"""`reasonflow eval`: a program over a benchmark or a file of problems."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reasonflow.cli.options import build, open_lm, parse_settings

if TYPE_CHECKING:
    from rich.console import Console

    from reasonflow.evals.runner import Evaluation

MODEL = "embedded"


def evaluate(
    program: Annotated[str, typer.Argument(help="chain_of_thought, self_consistency, pdr or sequential_refine.")],
    benchmark: Annotated[
        str | None,
        typer.Option(help="gsm8k, math500, ..., rg:NAME for any reasoning-gym dataset; arithmetic if none is given."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="JSON lines with problem and answer, instead of a benchmark.")
    ] = None,
    model: Annotated[str, typer.Option(help="embedded, a folder, or a Hugging Face name.")] = MODEL,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many problems, the first ones.")] = None,
    samples: Annotated[int, typer.Option(min=1, help="Runs per problem.")] = 1,
    seed: Annotated[int, typer.Option(help="Equal seeds draw equal samples; the problems stay the same.")] = 0,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Constructor option; repeat for more.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Samples and results; the same command goes on there.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
    temperature: Annotated[float | None, typer.Option(min=0.0, help="Of the samples; 0 is greedy.")] = None,
    top_p: Annotated[float | None, typer.Option(min=0.0, max=1.0, help="Nucleus sampling.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Generated tokens per call at most.")] = None,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Runs side by side; as many as the engine takes if not given.")
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(metavar="LIMITS", help="What each run may spend: total=20k, or sequential=4k,calls=32."),
    ] = None,
    overall_budget: Annotated[
        str | None,
        typer.Option(metavar="LIMITS", help="What all runs may spend together: total=200k, or calls=2k,seconds=10m."),
    ] = None,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="The engine's own log on standard error.")] = False,
) -> None:
    """Measure a program: accuracy with its interval, tokens along the critical path and in total, time.

    Every sample and every model call is recorded as it ends: the same command goes on where one was stopped.

    A run that its budget cuts counts with its latest answer, or as wrong. Budgets limit sequential and total
    tokens, calls, seconds and dollars.

    Examples:

      reasonflow eval self_consistency --set n=8 --limit 6

      reasonflow eval pdr --data problems.jsonl --limit 4 --set widths=2,2 --out runs/a --json

      reasonflow eval pdr --benchmark aime24 --model Qwen/Qwen3-8B --samples 16

      reasonflow eval chain_of_thought --benchmark rg:leg_counting,max_animals=3

      reasonflow eval pdr --budget total=20k --overall-budget total=200k,seconds=10m
    """
    from rich.console import Console

    from reasonflow import programs
    from reasonflow.evals import report
    from reasonflow.evals.benchmarks import DEFAULT, load
    from reasonflow.evals.runner import limited
    from reasonflow.plan.budget import Budget

    # Everything that can be wrong with the command is found before the engine's half minute.
    arguments = parse_settings(programs.find(program), settings or ())
    problems = load(benchmark, data=data, limit=limit)
    signature = f"{', '.join(problems[0].inputs)} -> answer"
    made = build(program, signature, arguments)
    each, overall = (None if given is None else Budget.parse(given) for given in (budget, overall_budget))
    limited(made, each, overall).explain()
    name = data.stem if data else DEFAULT if benchmark is None else benchmark
    folder = out or default_folder(program, name, model, seed)
    lm = open_lm(model, temperature=temperature, top_p=top_p, max_tokens=max_tokens, verbose=verbose)
    console = Console(stderr=True)
    count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''} × {samples} sample{'s' if samples > 1 else ''}"
    console.print(f"{program} on {name} with {model}: {count} → {folder}", highlight=False, soft_wrap=True)
    evaluation = _run(
        made,
        problems,
        console,
        out=folder,
        samples=samples,
        lm=lm,
        seed=seed,
        concurrency=concurrency,
        budget=each,
        overall_budget=overall,
        benchmark=name,
        settings=arguments,
    )
    found = report.summarise(evaluation, program=program, benchmark=name, model=model, seed=seed)
    report.write(found, folder)
    if as_json:
        print(json.dumps({**found.to_json(), "out": str(folder)}, ensure_ascii=False))
    else:
        Console().print(report.table(found))


def default_folder(program: str, benchmark: str, model: str, seed: int) -> Path:
    """`runs/PROGRAM-BENCHMARK-MODEL-SEED`, with nothing in it that a file system minds."""
    words = (program, benchmark, model.rstrip("/").rpartition("/")[2], str(seed))
    return Path("runs") / "-".join(re.sub(r"[^\w.=-]+", "_", word) for word in words)


def _run(program: Any, problems: Any, console: Console, *, out: Path, samples: int, **options: Any) -> Evaluation:
    """The evaluation with its progress shown; an interrupted one says how to go on."""
    import anyio

    from reasonflow.evals.progress import Progress
    from reasonflow.evals.runner import evaluate as run_evaluation

    total = len(problems) * samples
    progress = Progress(console, total)

    async def work() -> Evaluation:
        return await run_evaluation(program, problems, out=out, samples=samples, audience=progress.audience, **options)

    try:
        with progress:
            return anyio.run(work)
    except KeyboardInterrupt:
        done = progress.done
        print(f"{done} of {total} samples are in {out}; the same command goes on from there", file=sys.stderr)
        raise
