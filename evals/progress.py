"""How far an evaluation is, on stderr: a live line on a terminal, a sparse one elsewhere."""

from __future__ import annotations

import threading
import time
from functools import partial
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.text import Text

from reasonflow.evals.samples import Key, Sample
from reasonflow.evals.session import Audience
from reasonflow.runtime.events import BranchEnded, BranchStarted, Cancelled, Event, Watch

STEPS = 10
"""Lines of a whole evaluation where stderr is a file: one each tenth."""
PATIENCE_S = 60.0
"""Longest silence there, as long as samples end."""


class Progress:
    """Shows samples as they end, and what their branches do meanwhile. Use as a context; `console` writes to stderr.

    `done` counts earlier sessions, too. Samples end on the evaluator's thread, branches on engines' threads.
    """

    def __init__(self, console: Console, total: int, name: str = "") -> None:
        """name: stands before what is shown, where several run side by side."""
        self._console, self._total, self._name = console, total, f"{name} " if name else ""
        self.done = self._new = 0
        self._right = 0.0
        self._tokens = self._cancelled = self._saved = self._replayed = 0
        self._branches: dict[Key, int] = {}
        """In the engine, of each sample under way whose branches are told."""
        self._lock = threading.Lock()
        self._began = self._spoke = time.perf_counter()
        self._bar: Bar | None = None
        if console.is_terminal or console.is_jupyter:
            named = (TextColumn(self._name),) if name else ()
            columns = (*named, BarColumn(), MofNCompleteColumn(), _Live(self), TimeElapsedColumn())
            # Drawn a few times a second whatever happens meanwhile: an event only counts.
            self._bar = Bar(*columns, console=console, transient=True, refresh_per_second=4)
            self._task = self._bar.add_task("", total=total)

    @property
    def audience(self) -> Audience:
        """What to hand to the evaluation."""
        return Audience(on_sample=self.ended, on_kept=self.kept, follow=self.follow)

    def kept(self, sample: Sample) -> None:
        """Count a sample of an earlier session: it took no time of this one."""
        self.done += 1
        self._right += sample.value

    def ended(self, sample: Sample) -> None:
        """Count a sample that has just ended."""
        self.done += 1
        self._new += 1
        self._right += sample.value
        with self._lock:
            if self._branches.pop(sample.key, None) is None:  # a module that tells nothing while it runs
                self._tokens += sample.output_tokens or 0
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done)
        elif self._is_time():
            self._spoke = time.perf_counter()
            self._console.print(f"{self._name}{self.done}/{self._total} {self.describe()}", highlight=False)

    def follow(self, key: Key) -> Watch:
        """The listener for one sample's branches."""
        return partial(self._see, key)

    def _see(self, key: Key, event: Event) -> None:
        with self._lock:
            match event:
                case BranchStarted():
                    self._branches[key] = self._branches.get(key, 0) + 1
                case BranchEnded(replayed=True):
                    self._branches.setdefault(key, 0)
                    self._replayed += 1
                case BranchEnded(output_tokens=tokens):
                    self._branches[key] = self._branches.get(key, 0) - 1
                    self._tokens += tokens
                case Cancelled(output_tokens=tokens, tokens_saved=saved):
                    self._branches[key] = self._branches.get(key, 0) - 1
                    self._tokens += tokens
                    self._cancelled += 1
                    self._saved += saved

    def describe(self) -> str:
        """The state in words; figures nobody has are left out."""
        with self._lock:
            running = sum(self._branches.values())
            tokens, cancelled, saved, replayed = self._tokens, self._cancelled, self._saved, self._replayed
        seconds = max(time.perf_counter() - self._began, 1e-9)
        words = [
            f"accuracy {self._right / self.done:.1%}" if self.done else "",
            f"{running} branch{'es' if running != 1 else ''} running" if running else "",
            f"{tokens / seconds:,.0f} tokens/s",
            f"{cancelled} cancelled, at most {saved:,} tokens saved" if cancelled else "",
            f"{replayed} calls of an earlier session" if replayed else "",
        ]
        return ", ".join(word for word in words if word) if self.done or self._branches else "starting the engine"

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


class _Live(ProgressColumn):
    """The state as it is when the line is drawn."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress

    def render(self, task: Task) -> Text:
        return Text(self._progress.describe())
