"""A benchmark's report on standard output: its tables, or one JSON object."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from reasonflow.evals.performance.cpu_set import CpuSet
    from reasonflow.evals.performance.report import Report, Table

WIDTH = 140


def show(report: Report, as_json: bool) -> None:
    """Print it."""
    if as_json:
        typer.echo(json.dumps(report.to_json(), indent=2))
        return
    from rich.console import Console

    console = Console(width=WIDTH)
    print_report(console, report)


def show_all(measured: CpuSet, as_json: bool) -> None:
    """Print the reports of several benchmarks."""
    if as_json:
        typer.echo(json.dumps(measured.to_json(), indent=2))
        return
    from rich.console import Console

    console = Console(width=WIDTH)
    for name, report in measured.reports.items():
        console.rule(f"{name}, {measured.seconds[name]:.0f} s", align="left")
        print_report(console, report)
        console.print()


def print_report(console: Console, report: Report) -> None:
    """Its tables, what a reader must know, and what it was measured on."""
    for number, table in enumerate(report.tables):
        if number:
            console.print()
        _print_table(console, table)
    for note in report.notes:
        console.print(f"\n{note}", highlight=False, markup=False)
    made = report.provenance
    facts = {**made.engine, **made.hardware, **made.versions, "commit": made.commit or "unknown"}
    told = ", ".join(f"{name} {value}" for name, value in facts.items())
    console.print(f"\n{report.repeats} repeats; {told}", highlight=False, markup=False)


def _print_table(console: Console, table: Table) -> None:
    from rich.table import Table as Grid

    console.print(table.title, style="italic", highlight=False, markup=False)  # the grid's own would break at its width
    grid = Grid(box=None, pad_edge=False)
    first, *others = table.columns
    grid.add_column(first, no_wrap=True)
    for name in others:
        grid.add_column(name, justify="right", no_wrap=True)
    for row in table.rows:
        grid.add_row(*row)
    console.print(grid, highlight=False)
