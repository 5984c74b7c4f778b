"""How far an evaluation is, on stderr: a live line on a terminal, a sparse one elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from reasonflow.evals.samples import Sample

STEPS = 10
"""Lines of a whole evaluation where stderr is a file: one each tenth."""
PATIENCE_S = 60.0
"""Longest silence there, as long as samples end."""


class Progress:
    """Shows samples as they end. Use as a context; `console` writes to stderr. `done` counts earlier sessions, too."""

    def __init__(self, console: Console, total: int) -> None:
        self._console, self._total = console, total
        self.done = self._new = self._right = self._tokens = 0
        self._began = self._spoke = time.perf_counter()
        self._bar: Bar | None = None
        if console.is_terminal:
            columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
            self._bar = Bar(*columns, console=console, transient=True)
            self._task = self._bar.add_task("starting the engine", total=total)

    def kept(self, sample: Sample) -> None:
        """Count a sample of an earlier session: it took no time of this one."""
        self.done += 1
        self._right += sample.correct

    def __call__(self, sample: Sample) -> None:
        """Count a sample that has just ended."""
        self.done += 1
        self._new += 1
        self._right += sample.correct
        self._tokens += sample.output_tokens or 0
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, description=self._describe())
        elif self._is_time():
            self._spoke = time.perf_counter()
            self._console.print(f"{self.done}/{self._total} {self._describe()}", highlight=False)

    def _describe(self) -> str:
        seconds = max(time.perf_counter() - self._began, 1e-9)
        return f"accuracy {self._right / self.done:.1%}, {self._tokens / seconds:,.0f} tokens/s"

    def _is_time(self) -> bool:
        step = self.done * STEPS // self._total > (self.done - 1) * STEPS // self._total
        return step or self._new == 1 or time.perf_counter() - self._spoke > PATIENCE_S

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
