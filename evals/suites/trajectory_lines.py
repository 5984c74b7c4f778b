"""The trajectories that an evaluation's runs of ThreadWeaver gave: a line per run, with its tokens counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from reasonflow.evals.run_lines import RunLines
from reasonflow.evals.samples import Key
from reasonflow.evals.suites.woven import Kept
from reasonflow.programs.acceleration import TokenCost, cost
from reasonflow.programs.trajectories import parse

FILE = "trajectories.jsonl"


class TrajectoryLines:
    """Keeps the trajectory of each run of one evaluation folder. Use as a context; hand `ended` to the runner.

    Tokens are counted here, where the engine's tokenizer is at hand: a table is made of the lines alone.
    """

    def __init__(self, folder: Path, count: Callable[[str], int]) -> None:
        """count: tokens of a text."""
        self._lines, self._count = RunLines(folder / FILE), count

    def ended(self, key: Key, prediction: Any) -> None:
        """Keep what a run gave. A run that was solved without threads after all may have no trajectory."""
        text = prediction.get("trajectory")
        spent = None if text is None else cost(parse(text), self._count)
        row = {"trajectory": text}
        self._lines.keep(key, row if spent is None else {**row, "longest": spent.longest, "total": spent.total})

    @property
    def found(self) -> dict[Key, Kept]:
        """By sample; runs that failed, and those without a trajectory, are not among them."""
        return {
            key: Kept(parse(row["trajectory"]), TokenCost(row["longest"], row["total"]))
            for key, row in self._lines.rows.items()
            if row["trajectory"] is not None
        }

    def __enter__(self) -> TrajectoryLines:
        self._lines.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.__exit__(kind, error, trace)
