"""How far a run is, as one line on a terminal's standard error."""

from __future__ import annotations

import threading
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

        from reasonflow.runtime.progress import Progress

        self._console = console or Console(stderr=True)
        self._lock = threading.Lock()
        self._progress = Progress()
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
        first = self._progress(event)
        with self._lock:
            first = first and self._open and self.shown
        if first:  # until now the engine told of its start, and standard error was its log
            self._live.start()

    def text(self) -> str:
        """Branches and tokens so far; those still being written count as they come, where they are told."""
        return self._progress.running()

    def done(self) -> str:
        """The same of a run that is over."""
        return self._progress.done()

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
