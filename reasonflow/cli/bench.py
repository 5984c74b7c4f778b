"""`reasonflow bench`: what ReasonFlow itself costs and saves, measured beside the same work without it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from reasonflow.cli.bench_compile import compile_search
from reasonflow.cli.bench_options import AsJson, EngineOptions
from reasonflow.cli.bench_prompts import prompts
from reasonflow.cli.bench_report import show, show_all
from reasonflow.cli.shared_options import (
    Benchmark,
    Corpus,
    Data,
    Limit,
    MaxTokens,
    Model,
    Out,
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
    import dspy

app = typer.Typer()

Repeats: TypeAlias = Annotated[int, typer.Option(min=1, help="Measurements of each arm; the median counts.")]


@app.callback(invoke_without_command=True)
def bench(
    context: typer.Context,
    cpu: Annotated[
        bool, typer.Option("--cpu", help="Seven benchmarks one after the other, those on an engine on the same one.")
    ] = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Benchmarks of ReasonFlow itself: one by its name, or with --cpu all that need no GPU.

    Examples:

      reasonflow bench --cpu

      reasonflow bench --cpu --json

      reasonflow bench prefix
    """
    if context.invoked_subcommand is not None:
        if cpu or as_json or verbose:
            raise InputError("these options stand behind the benchmark's name", fix="--cpu takes no name beside it")
        return
    if not cpu:
        typer.echo(context.get_help())
        raise typer.Exit(2 if as_json else 0)
    from reasonflow.evals.performance.cpu_set import measure_cpu

    show_all(measure_cpu(_engine("embedded", None, verbose=verbose), _say), as_json)


@app.command()
def overhead(as_json: AsJson = False, repeats: Repeats = 7) -> None:
    """CPU time per branch on engines that do nothing: ours, and DSPy's own two ways to fan out.

    Examples:

      reasonflow bench overhead

      reasonflow bench overhead --repeats 3 --json
    """
    from reasonflow.evals.performance.overhead import measure_overhead

    show(measure_overhead(repeats=repeats).report(), as_json)


@app.command()
def fanout(as_json: AsJson = False, repeats: Repeats = 5) -> None:
    """Wall time of a fan-out on an engine that takes 200 ms for any number of branches, over those 200 ms.

    Ours beside the same engine with asyncio.gather by hand, and beside DSPy's own two ways to fan out.

    Examples:

      reasonflow bench fanout

      reasonflow bench fanout --repeats 3 --json
    """
    from reasonflow.evals.performance.fanout import measure_fanout

    show(measure_fanout(repeats=repeats).report(), as_json)


@app.command()
def prefix(
    as_json: AsJson = False,
    repeats: Repeats = 3,
    context_tokens: Annotated[
        int | None, typer.Option(min=64, help="Length of the context; by default what the engine's window leaves.")
    ] = None,
    model: Model = "embedded",
    engine_option: EngineOptions = None,
    verbose: Verbose = False,
) -> None:
    """How much of a long context the stages of PDR share, and what the engine computes over the least possible.

    Ours beside the same prompts by hand with asyncio, and beside the same three calls as plain DSPy modules.

    Examples:

      reasonflow bench prefix

      reasonflow bench prefix --model Qwen/Qwen3-8B --context-tokens 16000 --json
    """
    from reasonflow.evals.performance.prefix import measure_prefix

    lm = _engine(model, engine_option, verbose=verbose)
    show(measure_prefix(lm, repeats=repeats, context_tokens=context_tokens).report(), as_json)


@app.command()
def pressure(
    as_json: AsJson = False,
    repeats: Repeats = 1,
    model: Model = "embedded",
    engine_option: EngineOptions = None,
    verbose: Verbose = False,
) -> None:
    """What the order of calls is worth when the KV cache holds a quarter of the problems' prefixes: hits and time.

    Ours beside the same calls by hand: strictly depth first, breadth first with branches adjacent, and round robin over
    the problems, which is stopped after three times our time. The problems' number and length follow from the engine.

    Examples:

      reasonflow bench pressure

      reasonflow bench pressure --engine-option max_num_seqs=64 --engine-option num_gpu_blocks_override=1700 --json
    """
    from reasonflow.evals.performance.pressure import measure_pressure

    show(measure_pressure(_engine(model, engine_option, verbose=verbose), repeats=repeats).report(), as_json)


@app.command()
def latency(
    as_json: AsJson = False,
    repeats: Repeats = 1,
    seconds: Annotated[float, typer.Option(min=1.0, help="How long programs arrive, in each trial of an arm.")] = 7.0,
    model: Model = "embedded",
    engine_option: EngineOptions = None,
    verbose: Verbose = False,
) -> None:
    """How long programs take that arrive over time at 0.9 of the engine's capacity: mean, 95th percentile, the worst.

    A mix of single calls, votes and PDR. Ours beside the same runtime in the order of arrival, and beside the same
    calls by hand with asyncio. The capacity is measured first.

    Examples:

      reasonflow bench latency

      reasonflow bench latency --seconds 60 --repeats 3 --json
    """
    from reasonflow.evals.performance.latency import measure_latency

    lm = _engine(model, engine_option, verbose=verbose)
    show(measure_latency(lm, repeats=repeats, horizon_s=seconds).report(), as_json)


@app.command()
def engine(
    as_json: AsJson = False,
    repeats: Repeats = 3,
    calls: Annotated[
        int | None, typer.Option(min=1, help="Of each arm; by default twice as many as the engine decodes at once.")
    ] = None,
    prompt_tokens: Annotated[int, typer.Option(min=1, help="Length of the text in each prompt.")] = 64,
    output_tokens: Annotated[int, typer.Option(min=1, help="Tokens that each call writes.")] = 64,
    model: Model = "embedded",
    engine_option: EngineOptions = None,
    verbose: Verbose = False,
) -> None:
    """Tokens per second of a program of many branches over those of vLLM's own offline loop on the same prompts.

    Examples:

      reasonflow bench engine

      reasonflow bench engine --calls 512 --prompt-tokens 512 --output-tokens 256 --json
    """
    from reasonflow.evals.performance.engine import measure_engine

    lm = _engine(model, engine_option, verbose=verbose)
    measured = measure_engine(
        lm, repeats=repeats, calls=calls, prompt_tokens=prompt_tokens, output_tokens=output_tokens
    )
    show(measured.report(), as_json)


@app.command()
def cancel(
    as_json: AsJson = False,
    repeats: Annotated[
        int, typer.Option(min=1, help="Runs of each arm after a warm-up, each with a seed of its own.")
    ] = 4,
    model: Model = "embedded",
    engine_option: EngineOptions = None,
    verbose: Verbose = False,
) -> None:
    """What races and quorums save against waiting for all, and how fast cancelled samples leave the engine.

    On one engine, the arms alternating: a vote and its quorum; two calls, their race, and the same race written by hand
    with asyncio; a run whose task is cancelled, whose caller is interrupted, whose time is up. Takes a minute after the
    engine's start.

    Examples:

      reasonflow bench cancel

      reasonflow bench cancel --repeats 3 --json
    """
    from reasonflow.evals.performance.cancel import measure_cancel

    show(measure_cancel(_engine(model, engine_option, verbose=verbose), repeats=repeats).report(), as_json)


@app.command()
def http(as_json: AsJson = False, repeats: Repeats = 7) -> None:
    """CPU time of a client per call of 64 open at once: ours, aiohttp by hand, and DSPy's two engines.

    The server is a process of its own on this machine and answers a constant.

    Examples:

      reasonflow bench http

      reasonflow bench http --repeats 3 --json
    """
    from reasonflow.evals.performance.http import measure_http

    show(measure_http(repeats=repeats).report(), as_json)


@app.command()
def layouts(
    program: ProgramName,
    data: Data = None,
    benchmark: Benchmark = None,
    limit: Limit = None,
    worked: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="JSON lines with problem, solution and answer: a long input `examples` of every run."
        ),
    ] = None,
    shots: Annotated[int, typer.Option(min=1, help="So many of them, the first ones.")] = 16,
    samples: Samples = 1,
    seed: Seed = 0,
    settings: Settings = None,
    out: Out = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    max_tokens: MaxTokens = None,
    as_json: AsJson = False,
    model: Model = "embedded",
    engine_option: EngineOptions = None,
    verbose: Verbose = False,
) -> None:
    """Quality beside speed: a program in the layouts "dspy", "shared" and "auto", on the same problems and seeds.

    Accuracy of each, its difference to DSPy's layout problem by problem with a 95 % interval, prompt tokens computed
    and reused, seconds.

    Examples:

      reasonflow bench layouts pdr --set widths=4,2 --limit 20

      reasonflow bench layouts pdr --data problems.jsonl --limit 100 --samples 4 --model Qwen/Qwen3-8B --json

      reasonflow bench layouts pdr --data test.jsonl --worked train.jsonl --shots 32
    """
    from reasonflow.cli.options import build, open_lm, parse_engine_options
    from reasonflow.evals.benchmarks import load
    from reasonflow.evals.dataset import signature_of
    from reasonflow.evals.performance.layouts import measure_layouts
    from reasonflow.evals.performance.worked import read_worked, with_worked

    problems = load(benchmark, data=data, limit=limit)
    if worked is not None:
        problems = with_worked(problems, read_worked(worked, shots))
    made = build(program, signature_of(problems[0]), settings or ())
    lm = open_lm(
        model,
        temperature=temperature,
        top_p=top_p,
        max_tokens=max_tokens,
        verbose=verbose,
        engine_options=parse_engine_options(engine_option or ()),
    )
    measured = measure_layouts(made, problems, lm, samples=samples, seed=seed, name=program, out=out, say=_say)
    show(measured.report(), as_json)


@app.command()
def index(
    as_json: AsJson = False,
    passages: Annotated[int, typer.Option(min=1, help="To index, made on the spot.")] = 20_000,
    queries: Annotated[int, typer.Option(min=1, help="To search for, each one of the passages.")] = 500,
) -> None:
    """Seconds and memory to build a BM25 index, its bytes, and milliseconds to search it: alone, and eight at once.

    Without an engine, in a temporary folder. A million passages take two minutes, 3 GiB of memory and 2 GB of disk.

    Examples:

      reasonflow bench index

      reasonflow bench index --passages 1000000 --json
    """
    from reasonflow.evals.performance.retrieval import measure_index

    show(measure_index(passages, queries).report(), as_json)


@app.command()
def recall(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="JSON lines with question and passages, of which some are supporting."),
    ],
    corpus: Corpus = None,
    as_json: AsJson = False,
) -> None:
    """The share of supporting passages that BM25 finds among the first five, by the question and by each of its hops.

    All passages of all files are one index. Without an engine.

    Examples:

      reasonflow bench recall hotpotqa.jsonl musique.jsonl --corpus wikipedia.jsonl --json
    """
    from reasonflow.evals.performance.recall import measure_recall

    show(measure_recall(files, corpus or ()).report(), as_json)


@app.command()
def gate(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE", help="JSON lines with score and right; without one, samples whose risk is known are drawn."
        ),
    ] = None,
    splits: Annotated[
        int, typer.Option(min=1, help="Random splits into samples to calibrate on and to test on.")
    ] = 500,
    alpha: Annotated[float, typer.Option(help="Errors among what is accepted, at most.")] = 0.1,
    delta: Annotated[float, typer.Option(help="Chance that there are more.")] = 0.1,
    calibration: Annotated[
        int | None, typer.Option(min=1, help="Samples of each split to calibrate on; a quarter if not given.")
    ] = None,
    lower: Annotated[bool, typer.Option("--lower", help="A lower score is better, as of a perplexity.")] = False,
    drawn: Annotated[int, typer.Option(min=2, help="Samples that each split draws, without a file.")] = 4_000,
    wrong: Annotated[float, typer.Option(help="Share of wrong ones among those.")] = 0.3,
    apart: Annotated[float, typer.Option(help="How far right ones score above wrong ones, in deviations.")] = 1.5,
    picture: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Risk and acceptance against alpha, in a file that ends in .png, .svg or .pdf."
        ),
    ] = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Whether a calibrated gate keeps its promise over random splits, and what it accepts of what hindsight would.

    At alpha, and in a sweep from 0.02 to 0.3. Without an engine; takes half a minute.

    Examples:

      reasonflow bench gate --picture gate.svg

      reasonflow bench gate scores.jsonl --calibration 600 --alpha 0.05 --json
    """
    from reasonflow.evals.performance.gate_samples import Population, read_samples
    from reasonflow.evals.performance.gate_splits import measure_splits

    measured = measure_splits(
        Population(wrong=wrong, apart=apart) if file is None else read_samples(file),
        alpha=alpha,
        delta=delta,
        splits=splits,
        calibration=calibration,
        higher=not lower,
        seed=seed,
        drawn=drawn,
    )
    if picture is not None:
        from reasonflow.evals.performance.gate_picture import draw

        draw(measured, picture)
    show(measured.report(), as_json)


@app.command()
def search(
    benchmark: Benchmark = "musique",
    data: Data = None,
    limit: Limit = 32,
    beside: Annotated[int, typer.Option(min=1, help="Questions at a time.")] = 1,
    spread: Annotated[
        float, typer.Option(min=0.0, help="Of the logarithm of a search's seconds; 0: all take equally long.")
    ] = 0.0,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """The waiting that searching programs add, over gold decompositions and a search of 200 ms; without an engine.

    Each question's seconds over those of the longest way through its look-ups: planned as a graph, in turns, one query
    a turn, and in lock step with fifteen other questions, as the released script of HybridDeepSearcher does it.

    Examples:

      reasonflow bench search --benchmark musique --data musique_dev.jsonl

      reasonflow bench search --benchmark fanoutqa --data fanoutqa_dev.jsonl --spread 0.5 --json
    """
    from reasonflow.evals.benchmarks import load
    from reasonflow.evals.performance.search import measure_search

    show(
        measure_search(load(benchmark, data=data, limit=limit), beside=beside, spread=spread, seed=seed).report(),
        as_json,
    )


app.command()(prompts)


def _say(text: str) -> None:
    """What is under way."""
    typer.echo(text, err=True)


def _engine(model: str, words: list[str] | None, *, verbose: bool) -> dspy.LM:
    """The engine of a benchmark: on a CPU a small one, whose figures every benchmark can share."""
    from reasonflow.cli.options import open_lm, parse_engine_options
    from reasonflow.evals.performance.conditions import engine_options

    return open_lm(model, verbose=verbose, engine_options=engine_options(parse_engine_options(words or ())))


app.command("compile")(compile_search)
