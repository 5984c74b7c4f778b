"""Writing a picture: one figure to one file, the format by its ending, equal figures to equal files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from reasonflow.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".svg", ".png", ".pdf")


def check_picture(file: Path) -> None:
    """Raise InputError for another ending, and without matplotlib: before anything is computed for the picture."""
    if file.suffix.lower() not in FORMATS:
        raise InputError(f"no picture has the ending {file.suffix!r}", fix=f"end its name in {', '.join(FORMATS)}")
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise InputError(
            "a picture needs the package matplotlib", why=str(error), fix='pip install "reasonflow[eval]"'
        ) from error


def write_picture(file: Path, size: tuple[float, float], fill: Callable[[Figure], None], *, salt: str) -> None:
    """Draw and write it. size: in inches. fill: draws on the figure. salt: makes the ids inside an SVG.

    Raises InputError as `check_picture` does, and for a file that cannot be written.
    """
    check_picture(file)
    import matplotlib
    from matplotlib.figure import Figure

    # Text stays text, and equal figures give an equal file.
    style = {"svg.fonttype": "none", "svg.hashsalt": salt, "font.size": 10, "font.family": "sans-serif"}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=size, layout="constrained")
        fill(figure)
        try:
            # No date in an SVG: the same figures are the same file.
            figure.savefig(file, metadata={"Date": None} if file.suffix.lower() == ".svg" else None, dpi=150)
        except OSError as error:
            raise InputError(f"cannot write {file}", why=str(error), fix="name a file in a writable folder") from error
