"""A transfer report for people: one table, then what is to be known of it."""

from __future__ import annotations

from io import StringIO

from rich.console import Console
from rich.table import Table

from reasonflow.evals.at_k.vote_curve import COSTS, Cost
from reasonflow.evals.compare.comparison import Spent
from reasonflow.evals.compare.table import percent, points, spent_cells
from reasonflow.evals.statistics import CONFIDENCE, Interval
from reasonflow.evals.sweep.measured import AtEqualTokens, Measured
from reasonflow.evals.transfer.measured import Transfer

_NONE = "–"
_WIDTH = 140
"""Columns of the table as a text."""


def table(found: Transfer) -> Table:
    """The figures of both, and how the compiled program does against the one it came from and against votes."""
    title = f"the compiled program on {found.problems} problems that its compile has not seen"
    shown = Table(title=f"{title}; intervals {CONFIDENCE:.0%}", title_justify="left")
    shown.add_column("figure", style="bold")
    for name in ("before", "compiled", "compiled against before"):
        shown.add_column(name, justify="right")
    both = (found.before, found.compiled)
    shown.add_row("accuracy", *(percent(each.accuracy) for each in both), points(found.difference))
    for name, key in (("sequential tokens of a run", "sequential_tokens"), ("total tokens", "total_tokens")):
        shown.add_row(name, *spent_cells(found.comparison.spent[key], key))
    shown.add_row("calls", *_calls(found.calls))
    shown.add_row("fixed / broken problems", "", "", f"{found.comparison.fixed} / {found.comparison.broken}")
    if found.drawn:
        for cost in COSTS:
            cells = [_vote(each, cost) for each in both]
            shown.add_row(f"vote at equal {cost} tokens", *cells, "")
            shown.add_row("  the program minus that vote", *(_against(each, cost) for each in both), "")
    return shown


def lines(found: Transfer) -> list[str]:
    """The verdict, and what stands below the table."""
    said = [f"compiled against before: {verdict(found.difference)}"]
    vote = found.compiled.against["total"]
    if vote is not None:
        said.append(f"compiled against the vote at equal total tokens: {verdict(vote.difference)}")
    elif found.drawn:
        said.append(
            "one sample of a vote spends more tokens than the compiled program: there is no vote to compare with"
        )
    votes = [each for point in (found.before, found.compiled) for each in point.against.values()]
    if any(each is not None and each.vote.short for each in votes):
        said.append(f"*: the vote has no more than {found.drawn} samples of each problem, and spends less")
    return [*said, *found.notes]


def verdict(difference: Interval) -> str:
    """Better, worse, or not told apart."""
    if difference.low > 0:
        word = "better"
    elif difference.high < 0:
        word = "worse"
    else:
        word = "not told apart"
    return f"{word}, {points(difference)}"


def as_text(found: Transfer) -> str:
    """Table and lines."""
    written = StringIO()
    console = Console(file=written, width=_WIDTH)
    console.print(table(found))
    for line in lines(found):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    return written.getvalue().rstrip("\n")


def _calls(found: Spent) -> tuple[str, str, str]:
    first, second = (_NONE if value is None else f"{value:,.1f}" for value in (found.baseline, found.other))
    ratio = found.ratio
    return first, second, _NONE if ratio is None else f"× {ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"


def _vote(point: Measured, cost: Cost) -> str:
    found: AtEqualTokens | None = point.against[cost]
    if found is None:
        return _NONE
    return f"n={found.vote.samples:.3g}{'*' if found.vote.short else ''}: {percent(found.accuracy)}"


def _against(point: Measured, cost: Cost) -> str:
    found = point.against[cost]
    return _NONE if found is None else points(found.difference)
