"""`reasonflow eval`: a program over a benchmark or a file of problems."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reasonflow.cli.artifacts import is_artifact, open_artifact
from reasonflow.cli.options import LOCAL, build, open_lm, parse_settings, runs_folder
from reasonflow.cli.shared_options import (
    PROGRAMS,
    Allow,
    ApiKeyEnv,
    Benchmark,
    Concurrency,
    Corpus,
    Data,
    Engine,
    Limit,
    MaxTokens,
    Model,
    Out,
    Samples,
    Seed,
    Settings,
    Temperature,
    TopP,
    Verbose,
)
from reasonflow.cli.suite import run_suite
from reasonflow.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from reasonflow.evals.runner import Evaluation

MODEL = "embedded"


def evaluate(
    context: typer.Context,
    program: Annotated[
        str | None,
        typer.Argument(help=f"{PROGRAMS}, or an artifact, a .json file; none with --suite."),
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="A whole table: embedded, search, search-questions, speculation, speculation-prompted, threads or "
            "threads-prompted.",
        ),
    ] = None,
    parts: Annotated[
        list[str] | None,
        typer.Option("--part", metavar="NAME", help="With --suite: run this part alone; repeat for more."),
    ] = None,
    small: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="With --suite speculation-prompted: the smaller model beside --model."),
    ] = None,
    benchmark: Benchmark = None,
    data: Data = None,
    corpus: Corpus = None,
    model: Model = MODEL,
    engine: Engine = LOCAL,
    api_key_env: ApiKeyEnv = None,
    limit: Limit = None,
    samples: Samples = 1,
    seed: Seed = 0,
    settings: Settings = None,
    allow: Allow = None,
    out: Out = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
    temperature: Temperature = None,
    top_p: TopP = None,
    max_tokens: MaxTokens = None,
    concurrency: Concurrency = None,
    budget: Annotated[
        str | None,
        typer.Option(metavar="LIMITS", help="What each run may spend: total=20k, or sequential=4k,calls=32."),
    ] = None,
    overall_budget: Annotated[
        str | None,
        typer.Option(metavar="LIMITS", help="What all runs may spend together: total=200k, or calls=2k,seconds=10m."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="What it will take, and what is not known of that; no result is written.")
    ] = False,
    pilot: Annotated[
        int | None,
        typer.Option(min=1, help="With --dry-run: run so many problems first; they count in the evaluation later."),
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Measure a program: accuracy with its interval, tokens along the critical path and in total, time.

    Every sample and every model call is recorded as it ends: the same command goes on where one was stopped.

    A run that its budget cuts counts with its latest answer, or as wrong. Budgets limit sequential and total
    tokens, calls, seconds and dollars.

    --dry-run estimates calls, tokens, seconds and dollars. With --out the estimate stays there, and the report of the
    evaluation says how far it was off.

    --suite measures several programs on several tasks and prints one table, with goals met or not met beside the
    figures. It takes --limit, --seed, --model, --concurrency, --out and --json, and goes on as an evaluation does.
    --part runs one part of it: several processes may share a folder so, and the suite without --part finds what they
    made and prints the whole table. threads-prompted, search-questions and speculation-prompted are of any problems:
    they take --data, too. speculation-prompted is of two models: --small names the other one.

    Examples:

      reasonflow eval self_consistency --set n=8 --limit 6

      reasonflow eval pdr --data problems.jsonl --limit 4 --set widths=2,2 --out runs/a --json

      reasonflow eval pdr --benchmark aime24 --model Qwen/Qwen3-8B --samples 16

      reasonflow eval runs/pdr/pdr.json --benchmark graphmath:noise --limit 40

      reasonflow eval chain_of_thought --benchmark 2wiki --data questions.jsonl --limit 5

      reasonflow eval chain_of_thought --benchmark bfcl-parallel --data bfcl_parallel.jsonl --limit 5 --json

      reasonflow eval pdr --model openai/Qwen/Qwen3-8B --engine http://localhost:8000/v1

      reasonflow eval chain_of_thought --benchmark rg:leg_counting,max_animals=3

      reasonflow eval chain_of_thought --benchmark graphmath:breadth,width=8 --limit 20

      reasonflow eval pdr --budget total=20k --overall-budget total=200k,seconds=10m

      reasonflow eval pdr --benchmark aime24 --samples 16 --dry-run --pilot 3 --out runs/aime

      reasonflow eval hybrid_search --benchmark 2wiki --data questions.jsonl --corpus pages.jsonl --limit 5

      reasonflow eval --suite embedded --limit 40

      reasonflow eval --suite embedded --part breadth --part mid --out runs/embedded

      reasonflow eval --suite threads --limit 200 --json

      reasonflow eval --suite search --limit 100 --json

      reasonflow eval --suite threads-prompted --data gsm8k.jsonl --model Qwen/Qwen3-8B --limit 200

      reasonflow eval --suite speculation-prompted --data gsm8k.jsonl --model Qwen/Qwen3-4B --small Qwen/Qwen3-0.6B
    """
    if suite is not None:
        run_suite(
            context,
            suite,
            model=model,
            limit=limit,
            seed=seed,
            out=out,
            parts=parts,
            data=data,
            small=small,
            as_json=as_json,
            concurrency=concurrency,
            verbose=verbose,
        )
        return
    if small is not None:
        raise InputError("--small is of a suite", fix="add --suite speculation-prompted, or leave --small out")
    if parts:
        raise InputError("--part is of a suite", fix="name the suite with --suite, or leave --part out")
    if program is None:
        raise InputError(
            "there is no program to evaluate", fix="name one, as in `reasonflow eval pdr`, or give --suite"
        )
    from rich.console import Console

    from reasonflow import programs
    from reasonflow.evals import report, searching
    from reasonflow.evals.benchmarks import DEFAULT, load
    from reasonflow.evals.calls import scores
    from reasonflow.evals.dataset import signature_of
    from reasonflow.evals.estimate_error import compared
    from reasonflow.evals.runner import limited
    from reasonflow.plan.budget import Budget

    if pilot is not None and not dry_run:
        raise InputError("--pilot stands alone", fix="add --dry-run, or leave it out: the evaluation runs all problems")
    # Everything that can be wrong with the command is found before the engine's half minute.
    saved = is_artifact(program)
    arguments = {} if saved else parse_settings(programs.find(program), settings or ())
    problems = load(benchmark, data=data, limit=limit)
    signature = signature_of(problems[0])
    sources = (benchmark, None if data is None else data.stem)
    name = "-".join(source for source in sources if source is not None) or DEFAULT
    folder = out or default_folder(program.removesuffix(".json"), name, model, seed)
    index = None
    if not saved and (corpus or programs.searches(programs.find(program))):
        index = searching.index_of(problems, corpus or (), folder / searching.INDEX)
    if saved:
        made = open_artifact(program, signature, settings=settings or (), corpus=corpus or (), allow=allow or ())
    else:
        made = build(program, signature, arguments, retriever=index)
    if index is not None:
        arguments = {**arguments, "corpus": index.digest}
    each, overall = (None if given is None else Budget.parse(given) for given in (budget, overall_budget))
    limited(made, each, overall).explain()
    lm = open_lm(
        model,
        engine=engine,
        api_key_env=api_key_env,
        temperature=temperature,
        top_p=top_p,
        max_tokens=max_tokens,
        verbose=verbose,
    )
    console = Console(stderr=True)
    options: dict[str, Any] = {
        "samples": samples,
        "lm": lm,
        "seed": seed,
        "budget": each,
        "overall_budget": overall,
        "benchmark": name,
        "settings": arguments,
    }
    if dry_run:
        where = folder if out is not None or pilot is not None else None
        if pilot is not None:
            ids = _pilot(problems, pilot, seed)
            _say(console, f"pilot: {len(ids)} of {len(problems)} problems → {folder}")
            _run(made, problems, console, out=folder, concurrency=concurrency, only=ids, **options)
        _estimate(made, problems, program, where, as_json=as_json, **options)
        return
    count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''} × {samples} sample{'s' if samples > 1 else ''}"
    _say(console, f"{program} on {name} with {model}: {count} → {folder}")
    with searching.lines(folder, made) as kept:
        evaluation = _run(made, problems, console, out=folder, concurrency=concurrency, kept=kept, **options)
    against = compared(folder, evaluation)
    found = report.summarise(evaluation, program=program, benchmark=name, model=model, seed=seed, estimate=against)
    words = searching.figures(problems, evaluation.samples, kept, seed)
    calls = scores.figures(problems, evaluation.samples, seed)
    found = replace(found, figures={**(words or {}), **(calls or {})} or None)
    report.write(found, folder)
    if as_json:
        print(json.dumps({**found.to_json(), "out": str(folder)}, ensure_ascii=False))
    else:
        Console().print(report.table(found))


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True)


def _pilot(problems: Any, count: int, seed: int) -> list[str]:
    from reasonflow.evals.dry_run import pilot_of

    return pilot_of(problems, count, seed)


def _estimate(program: Any, problems: Any, name: str, folder: Path | None, *, as_json: bool, **options: Any) -> None:
    """Print what the evaluation will take, and leave it in the folder of that evaluation."""
    from reasonflow.evals.dry_run import dry_run

    found = dry_run(program, problems, name=name, folder=folder, **options)
    written = folder if folder is not None and found.mine else None
    if written is not None:
        found.write(written)
    if as_json:
        print(json.dumps({**found.to_json(), "out": written and str(written)}, ensure_ascii=False, default=str))
    else:
        print("\n".join([*found.lines(), "", str(found.estimate)]))


def default_folder(program: str, benchmark: str, model: str, seed: int) -> Path:
    """`runs/PROGRAM-BENCHMARK-MODEL-SEED`, with nothing in it that a file system minds."""
    return runs_folder(program, benchmark, model, str(seed))


def _run(
    program: Any, problems: Any, console: Console, *, out: Path, samples: int, kept: Any = None, **options: Any
) -> Evaluation:
    """The evaluation with its progress shown; an interrupted one says how to go on.

    kept: what is told of every prediction.
    """
    import anyio

    from reasonflow.evals.progress import Progress
    from reasonflow.evals.runner import evaluate as run_evaluation

    only = options.get("only")
    total = (len(problems) if only is None else len(only)) * samples
    progress = Progress(console, total)

    audience = progress.audience if kept is None else replace(progress.audience, on_prediction=kept.ended)

    async def work() -> Evaluation:
        return await run_evaluation(program, problems, out=out, samples=samples, audience=audience, **options)

    try:
        with progress:
            return anyio.run(work)
    except KeyboardInterrupt:
        done = progress.done
        print(f"{done} of {total} samples are in {out}; the same command goes on from there", file=sys.stderr)
        raise
