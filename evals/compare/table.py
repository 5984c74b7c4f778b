"""A comparison for people: one table, then what is to be known about it."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from reasonflow.evals.compare.comparison import Comparison, Matched, Spent
from reasonflow.evals.manifest import shortened
from reasonflow.evals.statistics import CONFIDENCE, Accuracy, Interval

_NONE = "–"
_SPENT = {"sequential_tokens": "sequential tokens", "total_tokens": "total tokens", "seconds": "seconds of a run"}


def table(found: Comparison) -> Table:
    """The figures of both on their common problems, and the difference or ratio."""
    problems = len(found.pairs.common)
    title = f"{found.other.path} against {found.baseline.path}: {problems} problem{'s' if problems > 1 else ''}"
    shown = Table(title=f"{title}, intervals {CONFIDENCE:.0%}", title_justify="left")
    shown.add_column("figure", style="bold")
    for name in ("baseline", "other", "other against baseline"):
        shown.add_column(name, justify="right")
    for row in _rows(found):
        shown.add_row(*row)
    return shown


def lines(found: Comparison, *, changed: bool = False) -> list[str]:
    """What stands below the table: warnings, where intervals come from, what differs, and the problems that changed."""
    said = [f"warning: {each}" for each in found.warnings]
    both = [at_k for each in found.figures for at_k in (each.baseline, each.other)]
    said += list(dict.fromkeys(f"{at_k.name}: {at_k.told}" for at_k in both))
    said += [_told(each) for each in found.matched]
    said += [f"{where}: {shortened(was)} → {shortened(now)}" for where, was, now in found.settings]
    if not found.settings:
        said.append("the manifests are equal: program, settings, model, seed and versions")
    if changed:
        for each in found.changed:
            word = "fixed" if each.now > each.before else "broken"
            answers = "" if each.answers is None else ", {!r} → {!r}".format(*each.answers)
            said.append(f"{word} {each.id}: {each.before:.2g} → {each.now:.2g}{answers}, right {each.expected!r}")
        if not found.changed:
            said.append("no problem came out differently")
    return said


def _rows(found: Comparison) -> Iterator[tuple[str, str, str, str]]:
    first, second = found.accuracies
    sizes = found.baseline.matrix.of(found.pairs.common).most, found.other.matrix.of(found.pairs.common).most
    name = "accuracy" if sizes == (1, 1) else f"accuracy, mean@{'/'.join(map(str, dict.fromkeys(sizes)))}"
    yield name, percent(first), percent(second), points(found.difference)
    for each in found.figures:
        yield each.baseline.name, percent(each.baseline.found), percent(each.other.found), points(each.difference)
    for match in found.matched:
        mine = match.voter is found.baseline
        theirs = f"{found.accuracies[mine].value:.1%}"
        cells = (_vote(match), theirs) if mine else (theirs, _vote(match))
        # Differences are the other's minus the baseline's in every row.
        difference = match.difference if mine else _turned(match.difference)
        yield f"vote at equal {match.cost} tokens", *cells, points(difference)
    yield "fixed / broken problems", "", "", f"{found.fixed} / {found.broken}"
    for key, spent in found.spent.items():
        yield _SPENT[key], *spent_cells(spent, key)


def percent(found: Accuracy | Interval) -> str:
    """52.5% (40.1% to 64.0%)."""
    return f"{found.value:.1%} ({found.low:.1%} to {found.high:.1%})"


def points(found: Interval) -> str:
    """A difference in percentage points."""
    return f"{100 * found.value:+.1f} points ({100 * found.low:+.1f} to {100 * found.high:+.1f})"


def _turned(found: Interval) -> Interval:
    return Interval(-found.value, -found.high, -found.low)


def _vote(found: Matched) -> str:
    return f"n={found.vote.samples:.3g}: {percent(found.accuracy)}"


def _told(found: Matched) -> str:
    vote = found.vote
    said = (
        f"vote at equal {found.cost} tokens: maj@{vote.samples:.3g} of the samples of {found.voter.path}, reused, "
        f"with what {found.against.path} spends"
    )
    if vote.short:
        said += "; it has no more samples, and spends less"
    return said + (f"; by Monte-Carlo, ± {vote.error:.4f}" if vote.error else "")


def spent_cells(found: Spent, key: str) -> tuple[str, str, str]:
    """Of both, and the ratio."""
    form = "{:,.2f}" if key == "seconds" else "{:,.0f}"
    first, second = (_NONE if value is None else form.format(value) for value in (found.baseline, found.other))
    ratio = found.ratio
    return first, second, _NONE if ratio is None else f"× {ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"
