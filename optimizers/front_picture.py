"""The picture of a front: accuracy against tokens, each point with its interval."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from reasonflow.errors import InputError
from reasonflow.optimizers.topology.space import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from reasonflow.optimizers.front import Front

_STYLE = {"svg.hashsalt": "front", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
_AXES = (("sequential", "sequential tokens of a run"), ("total", "total tokens of a run"))


def draw(front: Front, path: Path) -> None:
    """Write it as the file's ending says: .png, .svg or .pdf.

    Raises InputError for another ending, for a file that cannot be written, and without matplotlib.
    """
    if path.suffix not in (".png", ".svg", ".pdf"):
        raise InputError(f"{path.name} is no picture that can be drawn", fix="end it in .png, .svg or .pdf")
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError(
            "a picture needs the package matplotlib", why=str(error), fix='pip install "reasonflow[eval]"'
        ) from error
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(10, 4.2), layout="constrained")
        sides = figure.subplots(1, 2, sharey=True)
        for axes, (name, label) in zip(sides, _AXES, strict=True):
            _side(axes, front, name)
            axes.set_xlabel(label)
        sides[0].set_ylabel("accuracy, with its 95 % interval")
        sides[1].legend(frameon=False, loc="lower right")
        try:
            figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)
        except OSError as error:
            raise InputError(f"cannot write {path}", why=str(error), fix="name a file in a folder of yours") from error


def _side(axes: Axes, front: Front, name: str) -> None:
    if front.beaten:
        axes.plot(
            [getattr(point, name) for point in front.beaten],
            [point.accuracy for point in front.beaten],
            *("o",),
            color="0.75",
            markersize=4,
            label="dominated",
        )
    points = sorted(front.points, key=lambda point: getattr(point, name))
    axes.errorbar(
        [getattr(point, name) for point in points],
        [point.accuracy for point in points],
        yerr=[[p.accuracy - p.low for p in points], [p.high - p.accuracy for p in points]],
        fmt="o",
        color="C0",
        ecolor="0.6",
        elinewidth=1,
        capsize=2,
        label="front",
    )
    for number, point in enumerate(points):
        axes.annotate(
            shown(point.settings),
            (getattr(point, name), point.accuracy),
            xytext=(5, 5 if number % 2 == 0 else -11),
            textcoords="offset points",
            fontsize=7,
        )
    axes.set_xscale("log")
