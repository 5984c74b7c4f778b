"""A run drawn while it runs: in a notebook's output, or on a terminal."""

from __future__ import annotations

import asyncio
import html
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Protocol

from reasonflow.errors import InputError
from reasonflow.runtime.events import Event, Finished
from reasonflow.runtime.progress import Progress, Step
from reasonflow.runtime.values import Record

if TYPE_CHECKING:
    from rich.live import Live
    from rich.text import Text

_PERIOD_S = 0.25
"""Between two drawings."""
_LETTERS = 200
"""Of an answer."""
_DONE, _PALE = "#1f78c8", "opacity:.75"
_STRIPES = "repeating-linear-gradient(135deg,#1f78c8 0 2px,#1f78c840 2px 6px)"
_BAR = "height:.7em;box-sizing:border-box"
_PARTS = (
    ("ended", f"background:{_DONE}"),
    ("running", f"background:{_STRIPES}"),
    ("cancelled", f"border:2px dashed {_DONE}"),
)


def show(events: AsyncIterator[Event]) -> Any:
    """Draw a run while it runs, and give its output: `out = await rf.show(program.stream(problem=...))`.

    In a notebook it is drawn into the cell's output, on a terminal below the prompt; elsewhere it runs undrawn. Where
    no event loop runs, as in a script, `rf.show(...)` itself waits and gives the output. Raises what the run raises;
    whoever stops waiting cancels the run.
    """
    if not hasattr(events, "__anext__") or not hasattr(events, "aclose"):
        raise InputError(
            f"rf.show was given {type(events).__name__}, which is no stream of a run",
            fix="rf.show(program.stream(problem=...))",
        )
    watching = _watched(events, _screen())
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(watching)
    return watching


class Screen(Protocol):
    """Where a run is drawn. `open` comes first, `close` last, whatever happened in between; all on one thread."""

    def open(self, progress: Progress) -> None: ...
    def draw(self, progress: Progress) -> None:
        """Called at most every quarter of a second."""

    def close(self, progress: Progress, state: str) -> None: ...


class Notebook:
    """A cell's output, redrawn in place."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._drawn = ""

    def open(self, progress: Progress) -> None:
        """An empty picture: the engine may be starting."""
        from IPython.display import HTML, display

        self._drawn = as_html(progress, "waiting for the engine")
        self._handle = display(HTML(self._drawn), display_id=True)

    def draw(self, progress: Progress) -> None:
        """Nothing is sent where nothing has changed."""
        self._show(as_html(progress, progress.running() if progress.steps() else "waiting for the engine"))

    def close(self, progress: Progress, state: str) -> None:
        """The last picture stays."""
        self._show(as_html(progress, f"{state}: {progress.done()}"))

    def _show(self, page: str) -> None:
        from IPython.display import HTML

        if page != self._drawn:
            self._drawn = page
            self._handle.update(HTML(page))


class Terminal:
    """Lines below the prompt, gone when the run has ended."""

    def __init__(self) -> None:
        self._live: Live | None = None

    def open(self, progress: Progress) -> None:
        """Nothing yet: until the first branch starts, standard error is the engine's log."""

    def draw(self, progress: Progress) -> None:
        from rich.console import Console
        from rich.live import Live

        if not progress.steps():
            return
        if self._live is None:
            self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)
            self._live.start()
        self._live.update(_text(progress), refresh=True)

    def close(self, progress: Progress, state: str) -> None:
        if self._live is not None:
            self._live.stop()


class Nowhere:
    """No picture."""

    def open(self, progress: Progress) -> None: ...
    def draw(self, progress: Progress) -> None: ...
    def close(self, progress: Progress, state: str) -> None: ...


def as_html(progress: Progress, state: str) -> str:
    """A line per step: branches ended, running and cancelled, as counts and as a bar; then the latest answer."""
    rows = "".join(map(_row, progress.steps()))
    latest = answer_text(progress.answer)
    answer = f"<div style='margin-top:.3em'>latest answer: <b>{html.escape(latest)}</b></div>" if latest else ""
    return (
        f"<div style='max-width:60em;line-height:1.35;font-variant-numeric:tabular-nums'>{rows}{answer}"
        f"<div style='margin-top:.3em;{_PALE}'>{html.escape(state)}</div></div>"
    )


def answer_text(value: Any) -> str:
    """An answer in a few words: of a record its last field, which is what the others lead to."""
    if value is None:
        return ""
    if isinstance(value, Record):
        value = value.fields
    elif callable(getattr(value, "toDict", None)):  # a DSPy prediction
        value = value.toDict()
    if isinstance(value, Mapping):
        value = list(value.values())[-1] if value else ""
    text = " ".join(str(value).split())
    return text if len(text) <= _LETTERS else f"{text[: _LETTERS - 1]}…"


def _screen() -> Screen:
    found = sys.modules.get("IPython")
    shell = found.get_ipython() if found is not None else None
    if getattr(shell, "kernel", None) is not None:
        return Notebook()
    return Terminal() if sys.stderr is not None and sys.stderr.isatty() else Nowhere()


async def _watched(events: Any, screen: Screen) -> Any:
    loop = asyncio.get_running_loop()
    progress, state = Progress(), "failed"
    ticking: asyncio.TimerHandle | None = None

    def tick() -> None:
        nonlocal ticking
        screen.draw(progress)
        ticking = loop.call_later(_PERIOD_S, tick)

    screen.open(progress)
    try:
        async with aclosing(events):
            ticking = loop.call_later(_PERIOD_S, tick)
            async for event in events:
                progress(event)
                if isinstance(event, Finished):
                    state = "finished"
                    return event.output
        raise InputError("the stream ended without an output", fix="give rf.show a stream that nobody has read from")
    except asyncio.CancelledError:
        state = "cancelled"
        raise
    finally:
        if ticking is not None:
            ticking.cancel()
        screen.close(progress, state)


def _row(step: Step) -> str:
    counts = [f"{getattr(step, name):,} {name}" for name, _ in _PARTS if getattr(step, name)]
    parts = "".join(
        f"<div style='{_BAR};width:{100 * getattr(step, name) / step.branches:.2f}%;{look}'></div>"
        for name, look in _PARTS
        if getattr(step, name)
    )
    title = html.escape(step.node)
    return (
        "<div style='display:grid;grid-template-columns:minmax(6em,14em) minmax(6em,1fr) 23em;gap:.8em'>"
        f"<div style='overflow:hidden;white-space:nowrap;text-overflow:ellipsis' title='{title}'>{title}</div>"
        f"<div style='display:flex;align-items:center'>{parts}</div>"
        f"<div style='{_PALE};white-space:nowrap'>{', '.join(counts)}; {step.tokens:,} tokens</div></div>"
    )


def _text(progress: Progress) -> Text:
    from rich.text import Text

    steps = progress.steps()
    wide = min(40, max(len(step.node) for step in steps))
    lines = [
        f"{step.node[-wide:]:<{wide}}  {step.running:>4} running {step.ended:>4} ended"
        f"{f' {step.cancelled:>4} cancelled' if step.cancelled else ''}  {step.tokens:>7,} tokens"
        for step in steps
    ]
    latest = answer_text(progress.answer)
    lines += [f"latest answer: {latest}"] * bool(latest)
    return Text("\n".join([*lines, progress.running()]), no_wrap=True, overflow="ellipsis")
