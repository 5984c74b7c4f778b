"""A suite's findings for people: one table of rows with their goals, then the breakdowns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from reasonflow.evals.statistics import CONFIDENCE, Interval
from reasonflow.evals.suites.findings import Breakdown, Findings, Goal, Row, Share

_NONE = "–"


def tables(title: str, found: Findings) -> list[Table]:
    """The tables, to be printed in order."""
    return [_rows(title, found), *map(_breakdown, found.breakdowns)]


def _rows(title: str, found: Findings) -> Table:
    shown = Table(title=f"{title}; intervals {CONFIDENCE:.0%}", title_justify="left")
    for name in ("task", "arm", "setting"):
        shown.add_column(name)
    for name in ("result", _difference(found), "total tokens", "sequential"):
        shown.add_column(name, justify="right")
    shown.add_column("goal")
    figures, before = found.figures, ""
    for row in found.rows:
        subject = row.task.split()[0]
        if before and before != subject:
            shown.add_section()
        before = subject
        goals = [goal for goal in found.goals if goal.figure in row.figures()]
        shown.add_row(*_cells(row), "\n".join(_held(goal, row, figures) for goal in goals))
    return shown


def _difference(found: Findings) -> str:
    """The heading of the differences: whose results are taken off."""
    return " or ".join(dict.fromkeys(f"minus {row.against}" for row in found.rows if row.against)) or "difference"


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.task,
        row.arm,
        row.setting or _NONE,
        _interval(row.result, ".3f"),
        _interval(row.difference, "+.3f"),
        _NONE if row.total_tokens is None else f"{row.total_tokens:,.0f}",
        _NONE if row.sequential_tokens is None else f"{row.sequential_tokens:,.0f}",
    )


def _interval(found: Interval | None, form: str) -> str:
    return _NONE if found is None else f"{found.value:{form}} ({found.low:{form}} to {found.high:{form}})"


def _held(goal: Goal, row: Row, figures: Mapping[str, float | None]) -> str:
    about = f"minus {row.against} " if goal.figure != row.figure else ""
    met = goal.met(figures)
    return f"{about}{goal}: {'no figure' if met is None else 'met' if met else 'not met'}"


def _breakdown(found: Breakdown) -> Table:
    shown = Table(title=found.title, title_justify="left")
    names = list(dict.fromkeys(name for row in found.rows for name in row))
    for place, name in enumerate(names):
        shown.add_column(name, justify="right" if place else "left")
    for row in found.rows:
        shown.add_row(*(_cell(row.get(name)) for name in names))
    return shown


def _cell(cell: Any) -> str:
    if isinstance(cell, Share):
        return _NONE if cell.value is None else f"{cell.value:.3f} of {cell.of}"
    return _NONE if cell is None else str(cell)
