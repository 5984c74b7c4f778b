"""A waterfall as HTML for notebooks: inline styles alone, no script, and text in the theme's own colour."""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import TYPE_CHECKING

from reasonflow.runtime.waterfall_text import critical_line, happened, hidden_line, short, tokens, took

if TYPE_CHECKING:
    from reasonflow.runtime.waterfall import Row, Waterfall

# Told apart by form as well: queued is a thin line, prefill is striped, what has spread out is pale. Both colours have
# a contrast of 3 to white and to black at least, and differ for every kind of colour blindness.
_BLUE, _RED, _GREY, _GRID = "#1f78c8", "#d55e00", "#888e", "#8885"
_STRIPES = "repeating-linear-gradient(135deg,#d55e00 0 3px,#d55e0073 3px 6px)"
_LOOKS = {
    "queued": f"top:.62em;height:2px;background:{_GREY}",
    "prefill": f"top:.2em;height:.9em;background:{_STRIPES}",
    "decode": f"top:.2em;height:.9em;background:{_BLUE}",
    "running": f"top:.2em;height:.9em;background:{_BLUE}",
    "spread": f"top:.2em;height:.9em;background:{_BLUE};opacity:.4",
}
_MEANINGS = {
    "queued": "queued",
    "prefill": "prefill, to the first token",
    "decode": "decode",
    "running": "prefill and decode",
    "spread": "some of its samples have ended",
}
_HOLLOW = f"top:.2em;height:.9em;box-sizing:border-box;border:2px dashed {_BLUE}"
_MOMENT = "top:0;bottom:0;background:currentColor"
_CRITICAL = "border-bottom:2px solid"
"""In the colour of the text."""
_PALE = "opacity:.75"
_WHOLE = "max-width:75em;margin-top:.8em;line-height:1.35;font-size:92%;font-variant-numeric:tabular-nums"
_COLUMNS = "display:grid;grid-template-columns:minmax(5em,12em) minmax(7em,1fr) 13em 3.5em 6.5em;gap:.7em"
_CELL = "white-space:nowrap;overflow:hidden"
_FOLD = "cursor:pointer;list-style-position:outside"
_INDENT = "padding-left:1.2em"
_NAME = 22
"""Letters of a name."""


def as_html(waterfall: Waterfall) -> str:
    """A line per row: its name, its time, its input's cached and computed tokens, and figures."""
    if not waterfall.rows:
        return f"<div style='{_PALE};margin-top:.6em'>no model was called</div>"
    notes = [text for text in (critical_line(waterfall), hidden_line(waterfall)) if text]
    below = "".join(f"<div>{html.escape(text)}</div>" for text in notes)
    lines = "".join(_line(waterfall, row) for row in waterfall.rows)
    return (
        f"<div style='{_WHOLE}'>{_axis(waterfall)}{lines}"
        f"<div style='margin-top:.4em;{_PALE}'>{_legend(waterfall)}{below}</div></div>"
    )


def _axis(waterfall: Waterfall) -> str:
    ticks = waterfall.ticks()
    decimals = next((digits for digits in range(6) if all(_round(tick, digits) for tick in ticks)), 6)
    labels = "".join(
        f"<div style='position:absolute;left:{_percent(waterfall.share(tick))}%;{_PALE}'>{tick:.{decimals}f}"
        f"{' s' if number == 0 else ''}</div>"
        for number, tick in enumerate(ticks)
        if waterfall.share(tick) < 0.96  # its label would end outside
    )
    return (
        f"<div style='{_INDENT};{_COLUMNS}'><div style='{_PALE}'>call</div>"
        f"<div style='position:relative;height:1.4em'>{labels}</div><div style='{_PALE}'>seconds</div>"
        f"<div style='{_PALE}' title='found in the prefix cache: hollow; computed: filled'>input</div>"
        f"<div style='{_PALE}' title='tokens'>in → out</div></div>"
    )


def _line(waterfall: Waterfall, row: Row) -> str:
    if not row.folded:
        return f"<div style='{_INDENT}'>{_cells(waterfall, row)}</div>"
    members = "".join(f"<div style='{_INDENT}'>{_cells(waterfall, member)}</div>" for member in row.members)
    if row.hidden:
        members += f"<div style='{_INDENT};{_PALE}'>{row.hidden:,} more are not shown</div>"
    return (
        f"<details style='{_INDENT}'><summary style='{_FOLD}'>{_cells(waterfall, row)}</summary>"
        f"<div style='margin-left:-1.2em;box-shadow:inset 2px 0 {_GRID}'>{members}</div></details>"
    )


def _cells(waterfall: Waterfall, row: Row) -> str:
    name = (
        f"<div style='{_CELL}{';font-weight:bold' * bool(row.critical)}'>{html.escape(short(row.title, _NAME))}</div>"
    )
    return (
        f"<div style='{_COLUMNS}' title='{html.escape(happened(row))}'>{name}{_bar(waterfall, row)}"
        f"<div style='{_CELL};{_PALE}'>{took(row)}</div>{_tokens(row)}<div style='{_CELL};{_PALE}'>{tokens(row)}</div>"
        "</div>"
    )


def _bar(waterfall: Waterfall, row: Row) -> str:
    ticks = waterfall.ticks()
    step = waterfall.share(ticks[1]) if len(ticks) > 1 else 1.0
    grid = f"linear-gradient(to right,{_GRID} 1px,transparent 1px) 0 0/{_percent(step)}% 100%"
    parts = "".join(_marks(waterfall, row))
    return f"<div style='position:relative;height:1.3em;background:{grid}'>{parts}</div>"


def _marks(waterfall: Waterfall, row: Row) -> Iterator[str]:
    lost = len(row.outcomes) == 1 and "done" not in row.outcomes
    for segment in row.segments:
        hollow = lost and segment.kind in ("decode", "running")
        yield _box(waterfall, segment.from_s, segment.to_s, _HOLLOW if hollow else _LOOKS[segment.kind])
    for from_s, to_s in row.critical:
        yield _box(waterfall, from_s, to_s, f"bottom:-1px;{_CRITICAL}")
    if row.folded:
        yield _box(waterfall, row.median_end_s, row.median_end_s, _MOMENT)
    elif "failed" in row.outcomes:
        yield _sign(waterfall, row.ended_s, "✗")
    elif "cancelled" in row.outcomes:
        yield _sign(waterfall, row.ended_s, "⊘")
    elif row.replayed:
        yield _sign(waterfall, row.ended_s, "↺")
    elif not row.segments:
        yield _box(waterfall, row.ended_s, row.ended_s, _MOMENT)


def _box(waterfall: Waterfall, from_s: float, to_s: float, look: str) -> str:
    """From one moment to another; never too thin to be seen, and a moment at the very end still inside."""
    left, right = waterfall.share(from_s), waterfall.share(to_s)
    left = min(left, 0.996)
    wide = f"left:{_percent(left)}%;width:{_percent(max(0.0, right - left))}%"
    return f"<div style='position:absolute;min-width:2px;{wide};{look}'></div>"


def _sign(waterfall: Waterfall, at_s: float, sign: str) -> str:
    """A letter that stands where something ended; near the right edge to the left of it."""
    share = waterfall.share(at_s)
    place = f"left:{_percent(share)}%" if share < 0.95 else f"right:{_percent(1 - share)}%"
    return f"<div style='position:absolute;{place};top:0;font-weight:bold'>{sign}</div>"


def _tokens(row: Row) -> str:
    """The input as a bar: computed tokens filled, cached ones hollow; without the second where nobody counted them."""
    if row.input_tokens <= 0:
        return "<div></div>"
    cached = 0.0 if row.cached_tokens is None else min(1.0, row.cached_tokens / row.input_tokens)
    frame = f"margin:.3em 0;height:.7em;box-sizing:border-box;border:1px solid {_RED}"
    if row.cached_tokens is None:
        return f"<div style='{frame};border-style:dotted'></div>"
    fill = f"linear-gradient(to right,transparent {_percent(cached)}%,{_RED} 0)"
    return f"<div style='{frame};background:{fill}'></div>"


def _legend(waterfall: Waterfall) -> str:
    rows = [*waterfall.rows, *(member for row in waterfall.rows for member in row.members)]
    kinds = {segment.kind for row in rows for segment in row.segments}
    outcomes = {outcome for row in rows for outcome in row.outcomes}
    items = [
        f"<div><div style='position:relative;display:inline-block;width:2em;height:1.2em;vertical-align:bottom'>"
        f"<div style='position:absolute;left:0;right:0;{look}'></div></div> {_MEANINGS[kind]}</div>"
        for kind, look in _LOOKS.items()
        if kind in kinds
    ]
    if waterfall.path:
        line = f"display:inline-block;width:2em;height:.5em;vertical-align:middle;{_CRITICAL}"
        items.append(f"<div><div style='{line}'></div> critical path</div>")
    if any(row.folded for row in waterfall.rows):
        line = "display:inline-block;width:2px;height:1em;vertical-align:middle;background:currentColor"
        items.append(f"<div><div style='{line}'></div> median (seconds: shortest / median / longest)</div>")
    items += [
        f"<div><b>{sign}</b> {word}</div>"
        for sign, word, needed in (
            ("⊘", "cancelled", "cancelled" in outcomes),
            ("✗", "failed", "failed" in outcomes),
            ("↺", "replayed", any(row.replayed for row in waterfall.rows)),
        )
        if needed
    ]
    return f"<div style='display:flex;flex-wrap:wrap;gap:0 1.5em'>{''.join(items)}</div>"


def _percent(share: float) -> str:
    return f"{100 * share:.2f}".rstrip("0").rstrip(".")


def _round(value: float, digits: int) -> bool:
    return abs(round(value, digits) - value) <= 1e-9 * max(1.0, abs(value))
