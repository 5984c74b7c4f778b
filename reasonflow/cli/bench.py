"""`reasonflow bench`: what ReasonFlow itself costs and saves, measured beside the same work without it."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from reasonflow.evals.performance.cancel import Cancelling, Trial
    from reasonflow.evals.performance.fanout import FanOuts
    from reasonflow.evals.performance.http import Http
    from reasonflow.evals.performance.overhead import Overhead

Result = TypeVar("Result", "Cancelling", "FanOuts", "Http", "Overhead")

app = typer.Typer(no_args_is_help=True, help="Benchmarks of ReasonFlow itself.")


@app.callback()
def bench() -> None:
    """Benchmarks of ReasonFlow itself."""


@app.command()
def overhead(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    repeats: Annotated[int, typer.Option(min=1, help="Measurements of each arm at each width; the median counts.")] = 7,
) -> None:
    """CPU time per branch on engines that do nothing: ours, and DSPy's own two ways to fan out.

    Examples:

      reasonflow bench overhead

      reasonflow bench overhead --repeats 3 --json
    """
    from reasonflow.evals.performance.overhead import measure_overhead

    result = measure_overhead(repeats=repeats)
    _show(result, as_json, _print_table)


@app.command()
def fanout(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    repeats: Annotated[int, typer.Option(min=1, help="Measurements of each arm at each width; the median counts.")] = 5,
) -> None:
    """Wall time of a fan-out on an engine that takes 200 ms for any number of branches, over those 200 ms.

    Ours beside the same engine with asyncio.gather by hand, and beside DSPy's own two ways to fan out.

    Examples:

      reasonflow bench fanout

      reasonflow bench fanout --repeats 3 --json
    """
    from reasonflow.evals.performance.fanout import measure_fanout

    result = measure_fanout(repeats=repeats)
    _show(result, as_json, _print_fanouts)


@app.command()
def cancel(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    repeats: Annotated[
        int, typer.Option(min=1, help="Runs of each arm after a warm-up, each with a seed of its own.")
    ] = 4,
    model: Annotated[str, typer.Option(help="embedded, a folder, or a Hugging Face name.")] = "embedded",
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="The engine's own log on standard error.")] = False,
) -> None:
    """What races and quorums save against waiting for all, and how fast cancelled samples leave the engine.

    On one engine, the arms alternating: a vote and its quorum; two calls, their race, and the same race written by hand
    with asyncio; a run whose task is cancelled, whose caller is interrupted, whose time is up. Takes a minute after the
    engine's start.

    Examples:

      reasonflow bench cancel

      reasonflow bench cancel --repeats 3 --json
    """
    from reasonflow.cli.options import open_lm
    from reasonflow.evals.performance.cancel import measure_cancel

    result = measure_cancel(open_lm(model, verbose=verbose), repeats=repeats)
    _show(result, as_json, _print_cancelling)


@app.command()
def http(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    repeats: Annotated[int, typer.Option(min=1, help="Measurements of each arm; the median counts.")] = 7,
) -> None:
    """CPU time of a client per call of 64 open at once: ours, aiohttp by hand, and DSPy's two engines.

    The server is a process of its own on this machine and answers a constant.

    Examples:

      reasonflow bench http

      reasonflow bench http --repeats 3 --json
    """
    from reasonflow.evals.performance.http import measure_http

    result = measure_http(repeats=repeats)
    _show(result, as_json, _print_http)


def _show(result: Result, as_json: bool, table: Callable[[Result], None]) -> None:
    if as_json:
        typer.echo(json.dumps(result.to_json(), indent=2))
    else:
        table(result)


def _print_http(result: Http) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="CPU ms of the client per call, 64 open at once", box=None, pad_edge=False)
    table.title_justify = "left"
    table.add_column("arm", no_wrap=True)
    for name in ("median (least to most)", "to aiohttp by hand"):
        table.add_column(name, justify="right", no_wrap=True)
    for arm, times in result.cpu_ms.items():
        spread = f"{result.median(arm):.3f} ({min(times):.3f} to {max(times):.3f})"
        table.add_row(arm, spread, f"{result.ratio(arm):.2f}")
    console = Console(width=140)
    console.print(table, highlight=False)
    _print_made_of(console, result.repeats, {**result.hardware, **result.versions}, result.commit)


def _print_fanouts(result: FanOuts) -> None:
    from rich.console import Console
    from rich.table import Table

    arms, widths = (list(dict.fromkeys(keys)) for keys in zip(*result.wall_s, strict=True))
    title = f"Wall time over the engine's {result.latency_s:g} s: median (least to most)"
    table = Table(title=title, box=None, pad_edge=False, title_justify="left")
    table.add_column("branches", justify="right", no_wrap=True)
    for arm in arms:
        table.add_column(str(arm), justify="right", no_wrap=True)
    for width in widths:
        found = [result.over_ideal(arm, width) for arm in arms]
        table.add_row(str(width), *(f"{middle:.2f} ({least:.2f} to {most:.2f})" for middle, least, most in found))
    console = Console(width=140)
    console.print(table, highlight=False)
    _print_made_of(console, result.repeats, {**result.hardware, **result.versions}, result.commit)


def _print_cancelling(result: Cancelling) -> None:
    from rich.console import Console
    from rich.table import Table

    from reasonflow.evals.performance.cancel import ARMS

    table = Table(title="Each arm: wall time, and the worst of its cancellations", box=None, pad_edge=False)
    table.title_justify = "left"
    table.add_column("arm", no_wrap=True)
    for name in ("s, median (least to most)", "tokens, mean", "saved at most", "steps to idle", "ms to idle"):
        table.add_column(name, justify="right", no_wrap=True)
    for arm in ARMS:
        table.add_row(arm, *_cells(result.of(arm)))
    console = Console(width=140)
    console.print(table, highlight=False)
    console.print("".join(f"\n{name}: {value}" for name, value in result.figures().items()), highlight=False)
    _print_made_of(console, result.repeats, {**result.engine, **result.hardware, **result.versions}, result.commit)


def _cells(trials: Sequence[Trial]) -> tuple[str, ...]:
    walls = [trial.wall_s for trial in trials]
    saved = statistics.mean(trial.saved_at_most for trial in trials)
    steps = [trial.steps for trial in trials if trial.steps is not None]
    idle = [trial.idle_ms for trial in trials if trial.idle_ms is not None]
    return (
        f"{statistics.median(walls):.2f} ({min(walls):.2f} to {max(walls):.2f})",
        f"{statistics.mean(trial.tokens for trial in trials):.0f}",
        f"{saved:.0f}" if saved else "–",
        str(max(steps)) if steps else "–",
        f"{max(idle):.0f}" if idle else "–",
    )


def _print_table(result: Overhead) -> None:
    from rich.console import Console
    from rich.table import Table

    arms = list(dict.fromkeys(m.arm for m in result.measurements))
    table = Table(title="CPU ms per branch: median (least to most)", box=None, pad_edge=False, title_justify="left")
    table.add_column("branches", justify="right", no_wrap=True)
    for arm in arms:
        table.add_column(arm, justify="right", no_wrap=True)
    table.add_column("ours / best of DSPy", justify="right", no_wrap=True)
    for width in dict.fromkeys(m.width for m in result.measurements):
        row = [result.of(arm, width) for arm in arms]
        cells = [f"{m.cpu_ms:.3f} ({m.cpu_ms_range[0]:.3f} to {m.cpu_ms_range[1]:.3f})" for m in row]
        best = min(m.cpu_ms for m in row if m.arm.startswith("dspy"))
        table.add_row(str(width), *cells, f"{result.of('ours', width).cpu_ms / best:.2f}")
    console = Console(width=140)
    console.print(table)
    _print_made_of(console, result.repeats, {**result.hardware, **result.versions}, result.commit)


def _print_made_of(console: Console, repeats: int, made_of: dict[str, str], commit: str | None) -> None:
    """What the figures were measured with."""
    facts = ", ".join(f"{name} {value}" for name, value in {**made_of, "commit": commit or "unknown"}.items())
    console.print(f"\n{repeats} repeats; {facts}", highlight=False)
