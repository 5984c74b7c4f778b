"""`reasonflow doctor`: can an engine start here, and if not, what to do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from reasonflow.backends.environment import Check

_MARKS = {"ok": "[green]ok[/]", "warn": "[yellow]warn[/]", "fail": "[red]fail[/]"}


def doctor(
    fix: Annotated[
        bool, typer.Option("--fix", help="Apply the fixes that are pip commands, in this environment.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check whether an engine can start here. Exit code 0: yes, 1: no.

    Examples:

      reasonflow doctor

      reasonflow doctor --fix
    """
    from reasonflow.backends.environment import can_start, examine, try_engine
    from reasonflow.backends.facts import gather

    checks = examine(gather())
    if fix and _apply_fixes(checks):
        checks = examine(gather())
    if can_start(checks):  # otherwise the import would only repeat what a check has said better
        checks = (*checks, try_engine())
    if as_json:
        rows = [{name: value for name, value in asdict(check).items() if name != "pip"} for check in checks]
        typer.echo(json.dumps({"ok": can_start(checks), "checks": rows}, indent=2))
    else:
        _print_table(checks)
    if not can_start(checks):
        raise typer.Exit(1)


def _apply_fixes(checks: Sequence[Check]) -> bool:
    """Whether anything was done."""
    from reasonflow.backends.environment import apply

    repairable = [check for check in checks if check.status != "ok" and check.pip]
    for check in repairable:
        typer.echo(f"{check.name}: {check.detail}\n  running pip {' '.join(check.pip)}", err=True)
        if status := apply(check):
            typer.echo(f"  pip ended with status {status}", err=True)
    return bool(repairable)


def _print_table(checks: Sequence[Check]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in checks:
        fix = f"\n[bold]fix:[/] {escape(check.fix)}" if check.fix else ""
        table.add_row(_MARKS[check.status], check.name, f"{escape(check.detail)}{fix}")
    Console().print(table)
