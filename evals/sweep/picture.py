"""The picture of a sweep: accuracy against sequential and total tokens, with self-consistency as the line to beat."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from reasonflow.evals.pictures import write_picture
from reasonflow.evals.statistics import Accuracy
from reasonflow.evals.sweep.measured import Measured, Swept

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LINE = "#777777"
_SERIES = ("#2166ac", "#b2182b", "#1b7837", "#762a83", "#e08214", "#01665e", "#8c510a", "#c51b7d")
_MOST_NAMED = len(_SERIES)
"""Series that a legend can name and colours can tell apart; of more each point is on its own."""


def draw(found: Swept, file: Path, title: str) -> None:
    """Write it. file: its ending says the format. Points that differ in the last axis alone are one curve.

    Raises InputError as `write_picture` does.
    """

    def fill(figure: Figure) -> None:
        axes = figure.subplots(1, 2, sharey=True)
        _panel(axes[0], found, "total_tokens", "total tokens of a run")
        _panel(axes[1], found, "sequential_tokens", "sequential tokens of a run")
        axes[0].set_ylabel("accuracy")
        axes[0].legend(frameon=False, loc="best", fontsize=8)
        figure.suptitle(title, fontsize=10)

    write_picture(file, (9.6, 4.2), fill, salt="sweep")


def _panel(axes: Axes, found: Swept, cost: str, label: str) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter, PercentFormatter

    line = [(tokens, point) for point in found.line if (tokens := getattr(point, cost)) is not None]
    if line:
        xs, values = [tokens for tokens, _ in line], [point.figure.found for _, point in line]
        axes.fill_between(xs, [v.low for v in values], [v.high for v in values], color=_LINE, alpha=0.15, linewidth=0)
        name = f"self-consistency, out of {found.drawn} samples"
        axes.plot(xs, [v.value for v in values], color=_LINE, linestyle="--", marker=".", linewidth=1, label=name)
    for place, (name, points) in enumerate(series(found)):
        known = [(tokens, point) for point in points if (tokens := getattr(point, cost)) is not None]
        if known:
            _curve(axes, known, _SERIES[place % _MOST_NAMED], name)
    axes.set_xscale("log")
    # Tokens as people write them: the range is often within one power of ten.
    axes.xaxis.set_major_formatter(FuncFormatter(lambda tokens, _: f"{tokens:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    _ticks(axes, [*(tokens for tokens, _ in line), *_all(found.points, cost)])
    axes.set_xlabel(label)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(alpha=0.25)


def series(found: Swept) -> list[tuple[str, list[Measured]]]:
    """Points that differ in the last axis alone, with the name of what they share."""
    groups: dict[tuple[str, ...], list[Measured]] = {}
    for point in found.points:
        groups.setdefault(point.place[:-1], []).append(point)
    if len(groups) > _MOST_NAMED:
        return [("points", list(found.points))]
    last = found.axes[-1] if found.axes else ""
    return [
        (
            ", ".join(f"{axis}={value}" for axis, value in zip(found.axes, place, strict=False)) or last or "points",
            points,
        )
        for place, points in groups.items()
    ]


def _curve(axes: Axes, known: Sequence[tuple[float, Measured]], color: str, name: str) -> None:
    """In the grid's order; each point with its interval and the value of the last axis."""
    xs, values = [tokens for tokens, _ in known], [point.accuracy for _, point in known]
    joined = "none" if name == "points" else "-"
    axes.errorbar(
        xs,
        [each.value for each in values],
        yerr=_ends(values),
        color=color,
        marker="o",
        markersize=4,
        linestyle=joined,
        elinewidth=0.8,
        capsize=2,
        label=name,
    )
    for tokens, point in known:
        text = point.place[-1] if point.place else ""
        axes.annotate(text, (tokens, point.accuracy.value), (4, 4), textcoords="offset points", fontsize=8, color=color)


def _ends(values: Sequence[Accuracy]) -> list[list[float]]:
    """How far each interval reaches below and above."""
    return [[v.value - v.low for v in values], [v.high - v.value for v in values]]


def _all(points: Sequence[Measured], cost: str) -> list[float]:
    return [tokens for point in points if (tokens := getattr(point, cost)) is not None]


def _ticks(axes: Axes, tokens: Sequence[float]) -> None:
    """1, 2 and 5 times powers of ten, around what is drawn."""
    if not tokens:
        return
    low, high = min(tokens) / 1.25, max(tokens) * 1.25
    axes.set_xlim(low, high)
    marks = [step * 10**power for power in range(10) for step in (1, 2, 5) if low <= step * 10**power <= high]
    axes.set_xticks(marks or [min(tokens), max(tokens)])
