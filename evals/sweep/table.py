"""A sweep for people: its points beside the line at the same tokens, then the line itself."""

from __future__ import annotations

from rich.table import Table

from reasonflow.evals.at_k.vote_curve import COSTS
from reasonflow.evals.compare.table import percent, points
from reasonflow.evals.statistics import CONFIDENCE
from reasonflow.evals.sweep.measured import AtEqualTokens, Measured, Swept

_NONE = "–"


def tables(title: str, found: Swept) -> list[Table]:
    """The tables, to be printed in order."""
    return [_points(title, found), *([_line(found)] if found.line else [])]


def lines(found: Swept) -> list[str]:
    """What is to be known about the tables."""
    said = [
        f"warning: {point.name}: {point.errors} of {point.runs} runs failed; they count as wrong"
        for point in found.points
        if point.errors
    ]
    for point in found.points:
        if point.cut:
            said.append(f"{point.name}: {point.cut} of {point.runs} runs were cut by their budget")
        if point.squeezed:
            runs = f"{point.squeezed} of {point.runs} runs"
            said.append(f"{point.name}: the budget left {runs} fewer branches, shorter prompts or texts")
    if found.line:
        said.append(
            f"the line: self-consistency, every point of it out of the same {found.drawn} samples of each problem "
            "(the mean over all ways to take n of them), so that its points err together"
        )
        said.append(
            "at equal tokens: two neighbouring points of the line, mixed so that they spend exactly what the point does"
        )
        errors = [point.figure.error for point in found.line if point.figure.error]
        if errors:
            said.append(f"some of the line is by Monte-Carlo: standard error at most {max(errors):.4f}")
    if any(_short(point) for point in found.points):
        said.append("*: the line has no more samples, and spends less; --line N draws more")
    return said


def _points(title: str, found: Swept) -> Table:
    shown = Table(title=f"{title}; intervals {CONFIDENCE:.0%}", title_justify="left")
    shown.add_column("point", style="bold")
    for name in ("accuracy", "sequential", "total tokens"):
        shown.add_column(name, justify="right")
    if found.line:
        for cost in COSTS:
            shown.add_column(f"minus vote at equal {cost} tokens", justify="right")
    for point in found.points:
        cells = (percent(point.accuracy), _tokens(point.sequential_tokens), _tokens(point.total_tokens))
        shown.add_row(point.name, *cells, *([_against(point.against[cost]) for cost in COSTS] if found.line else []))
    return shown


def _line(found: Swept) -> Table:
    shown = Table(title=f"the line: self-consistency out of {found.drawn} samples", title_justify="left")
    shown.add_column("n", justify="right", style="bold")
    for name in ("accuracy", "sequential", "total tokens"):
        shown.add_column(name, justify="right")
    for point in found.line:
        tokens = (_tokens(point.sequential_tokens), _tokens(point.total_tokens))
        shown.add_row(str(point.samples), percent(point.figure.found), *tokens)
    return shown


def _against(found: AtEqualTokens | None) -> str:
    if found is None:
        return _NONE
    return f"{points(found.difference)}\nn={found.vote.samples:.3g}{'*' if found.vote.short else ''}"


def _short(point: Measured) -> bool:
    return any(found is not None and found.vote.short for found in point.against.values())


def _tokens(value: float | None) -> str:
    return _NONE if value is None else f"{value:,.0f}"
