"""How far a run is: counted from its events, shown as one line on a terminal's standard error."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from reasonflow.runtime.events import Event

_PER_SECOND = 4
"""How often the line is drawn, whatever happens meanwhile."""


class LiveLine:
    """A watch of runs. Use as a context; nothing is written unless standard error is a terminal."""

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = console or Console(stderr=True)
        self._lock = threading.Lock()
        self._writing: dict[tuple[str, tuple[int, ...]], int] = {}
        """Tokens so far of every branch in the engine."""
        self._ended = self._cancelled = self._written = 0
        self._began: float | None = None
        self._open = False
        self._live = Live(
            console=self._console, get_renderable=self._render, refresh_per_second=_PER_SECOND, transient=True
        )

    @property
    def shown(self) -> bool:
        """Whether there is a terminal to show it on."""
        return self._console.is_terminal

    def __call__(self, event: Event) -> None:
        """Count; on the engine's thread."""
        from reasonflow.runtime.events import BranchEnded, BranchStarted, Cancelled, Token

        branch = (event.node, event.indices)
        first = False
        with self._lock:
            if isinstance(event, BranchStarted):
                self._writing[branch] = 0
                first, self._began = self._began is None, self._began or time.perf_counter()
            elif isinstance(event, Token):
                self._writing[branch] = self._writing.get(branch, 0) + 1
            elif isinstance(event, (BranchEnded, Cancelled)):
                self._writing.pop(branch, None)
                self._written += event.output_tokens
                self._ended += isinstance(event, BranchEnded)
                self._cancelled += isinstance(event, Cancelled)
            first = first and self._open and self.shown
        if first:  # until now the engine told of its start, and standard error was its log
            self._live.start()

    def text(self) -> str:
        """Branches and tokens so far; those still being written count as they come, where they are told."""
        with self._lock:
            running = len(self._writing)
            seconds = 0.0 if self._began is None else time.perf_counter() - self._began
            rate = f", {self._tokens / seconds:,.0f} tokens/s" if seconds > 1 else ""
            return f"{running} branch{'' if running == 1 else 'es'} running, {self._done}{rate}"

    def done(self) -> str:
        """The same of a run that is over."""
        with self._lock:
            return self._done

    @property
    def _tokens(self) -> int:
        return self._written + sum(self._writing.values())

    @property
    def _done(self) -> str:
        cancelled = f", {self._cancelled} cancelled" if self._cancelled else ""
        return f"{self._ended} ended{cancelled}, {self._tokens:,} tokens"

    def _render(self) -> Text:
        from rich.text import Text

        return Text(self.text())

    def __enter__(self) -> LiveLine:
        self._open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._open = False
        self._live.stop()
