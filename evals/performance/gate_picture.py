"""The picture of a gate over many splits: its risk against the alpha that was asked for, and what it accepts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reasonflow.evals.performance.gate_splits import Band, GateSplits
from reasonflow.evals.pictures import write_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_GATE, _OTHER = "#2166ac", "#777777"


def draw(measured: GateSplits, file: Path) -> None:
    """Write it. file: its ending says the format.

    Raises InputError for another ending, for a file that cannot be written, and without matplotlib.
    """

    def fill(figure: Figure) -> None:
        risk, acceptance = figure.subplots(1, 2)
        _draw_risk(risk, measured)
        _draw_acceptance(acceptance, measured)

    write_picture(file, (8.6, 3.6), fill, salt="gate")


def _draw_risk(axes: Axes, measured: GateSplits) -> None:
    alphas = [each.alpha for each in measured.sweep]
    axes.plot(alphas, alphas, color=_OTHER, linestyle="--", linewidth=1, label="alpha itself")
    # Of the few splits that accept anything at a strict alpha, no median says how such splits end.
    bands = [each.risk if each.nothing_passes_share < 0.5 else None for each in measured.sweep]
    _line(axes, alphas, bands, _GATE, "median, and 90 % of the splits")
    silent = [each.alpha for each, band in zip(measured.sweep, bands, strict=True) if band is None]
    if silent:
        axes.axvspan(0, silent[-1], color=_OTHER, alpha=0.1, linewidth=0, label="nothing passes in most splits")
    axes.set_title(f"Errors among what is accepted, {measured.splits} splits", fontsize=10)
    _finish(axes, alphas, alphas[-1])


def _draw_acceptance(axes: Axes, measured: GateSplits) -> None:
    alphas = [each.alpha for each in measured.sweep]
    _line(axes, alphas, [each.hindsight for each in measured.sweep], _OTHER, "best threshold in hindsight", "--")
    _line(axes, alphas, [each.acceptance for each in measured.sweep], _GATE, "calibrated gate")
    axes.set_title(f"Accepted, calibrated on {measured.calibration:,} samples", fontsize=10)
    _finish(axes, alphas, 1.0)


def _line(
    axes: Axes, alphas: Sequence[float], bands: Sequence[Band | None], color: str, label: str, style: str = "-"
) -> None:
    """The middle with its band; a gap where there is none."""
    low, middle, high = zip(*((band or (math.nan,) * 3) for band in bands), strict=True)
    axes.fill_between(alphas, low, high, color=color, alpha=0.18, linewidth=0)
    marks: dict[str, Any] = {"marker": "o", "markersize": 3} if style == "-" else {"linewidth": 1}
    axes.plot(alphas, middle, color=color, linestyle=style, label=label, **marks)


def _finish(axes: Axes, alphas: Sequence[float], top: float) -> None:
    from matplotlib.ticker import PercentFormatter

    axes.set_xlim(0, alphas[-1])
    axes.set_ylim(0, top)
    axes.set_xlabel("alpha: errors that were allowed")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, loc="upper left" if top < 1 else "lower right", fontsize=9)
