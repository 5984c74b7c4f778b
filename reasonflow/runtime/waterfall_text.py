"""A waterfall as text: the bars for a terminal, and the phrases that the HTML uses too."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reasonflow.runtime.waterfall import Row, Waterfall

WIDTH = 100
"""Columns."""
_NAME, _FIGURES = 26, 32
_UNICODE = {
    "queued": "·", "prefill": "▒", "decode": "█", "running": "█", "spread": "░", "median": "│", "critical": "◆",
    "cancelled": "⊘", "failed": "✗", "replayed": "↺", "done": "│",
}  # fmt: skip
_ASCII = {
    "queued": ".", "prefill": ":", "decode": "#", "running": "#", "spread": "-", "median": "|", "critical": "*",
    "cancelled": "/", "failed": "x", "replayed": "<", "done": "|",
}  # fmt: skip
_PLAIN = str.maketrans({"×": "x", "→": ">", "·": ",", "›": ">", "…": "~", **dict(zip("⊘✗↺", "/x<", strict=True))})


def as_text(waterfall: Waterfall, *, ascii_only: bool | None = None) -> str:
    """A line per row: its name, its time, figures. ascii_only: None asks the encoding of standard output."""
    if ascii_only is None:
        ascii_only = not _printable("".join(_UNICODE.values()))
    if not waterfall.rows:
        return "no model was called"
    glyphs = _ASCII if ascii_only else _UNICODE
    wide = WIDTH - _NAME - _FIGURES - 2
    kinds = {segment.kind for row in waterfall.rows for segment in row.segments}
    legend = [f"{glyphs[kind]} {kind}" for kind in ("queued", "prefill", "decode", "spread") if kind in kinds]
    legend += [f"{glyphs['running']} running"] * ("running" in kinds)
    legend += [f"{glyphs['critical']} critical path"] * bool(waterfall.path)
    lines = [
        f"{'seconds':<{_NAME}} {_axis(waterfall, wide)}",
        *(_line(waterfall, row, glyphs, wide) for row in waterfall.rows),
        "  ".join(legend),
        *(text for text in (critical_line(waterfall), hidden_line(waterfall)) if text),
    ]
    text = "\n".join(line.rstrip() for line in lines)
    return text.translate(_PLAIN).encode("ascii", "replace").decode() if ascii_only else text


def critical_line(waterfall: Waterfall) -> str:
    """The critical path's calls by name; empty where it is not known."""
    names = list(waterfall.path)
    if not names:
        return ""
    if len(names) < waterfall.path_calls:
        names.insert(-1, "…")
    calls = f"{waterfall.path_calls:,} call{'' if waterfall.path_calls == 1 else 's'}"
    return f"critical path, by tokens: {' → '.join(names)} ({calls}, {seconds(waterfall.path_s)} s)"


def hidden_line(waterfall: Waterfall) -> str:
    """How much is not shown; empty where all is."""
    if not waterfall.hidden:
        return ""
    return f"{waterfall.hidden:,} of {waterfall.samples:,} calls are in no row: the critical and the longest are shown"


def took(row: Row) -> str:
    """How long it took, what went otherwise than well behind it: `0.92 ✗ failed`, `0.2 / 0.7 / 1.4 ⊘ 3`."""
    if row.replayed == row.samples:
        return "replayed"
    bad = (("⊘", "cancelled", row.outcomes.get("cancelled")), ("✗", "failed", row.outcomes.get("failed")))
    if row.folded:
        return " / ".join(map(_brief, row.took_s)) + "".join(f" {sign} {count}" for sign, _, count in bad if count)
    return seconds(row.took_s[0]) + "".join(f" {sign} {name}" for sign, name, count in bad if count)


def tokens(row: Row) -> str:
    """In and out; rounded where exact figures would be long."""
    return " → ".join(
        f"{count:,}" if count < 10_000 else f"{count / 1000:,.0f}k" for count in (row.input_tokens, row.output_tokens)
    )


def short(title: str, most: int) -> str:
    """The end of a long name: that is where names differ."""
    return title if len(title) <= most else f"…{title[1 - most :]}"


def happened(row: Row) -> str:
    """All there is to say about a row, with exact figures."""
    took = " / ".join(f"{value:.3f}" for value in (row.took_s if row.folded else row.took_s[:1]))
    alone = not row.folded and row.segments
    outcomes = ", ".join(f"{count:,} {name}" if row.folded else name for name, count in row.outcomes.items())
    cached = "cached unknown" if row.cached_tokens is None else f"{row.cached_tokens:,} cached"
    parts = [
        f"{row.title}: {outcomes}",
        f"{row.started_s:.3f} to {row.ended_s:.3f} s, took {took} s{' (min / median / max)' if row.folded else ''}",
        *([", ".join(f"{part.kind} {part.to_s - part.from_s:.3f} s" for part in row.segments)] if alone else []),
        f"{row.input_tokens:,} tokens in ({cached}), {row.output_tokens:,} out",
        *([f"{row.replayed:,} replayed from an earlier session"] if row.replayed else []),
        *([f"{row.repaired:,} with a repaired text"] if row.repaired else []),
        *(["on the critical path"] if row.critical else []),
    ]
    return "; ".join(parts)


def seconds(value: float) -> str:
    """With as many decimals as a duration of this size deserves."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.095 else f"{value:.3f}"


def _brief(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def _axis(waterfall: Waterfall, wide: int) -> str:
    line = ""
    for tick in waterfall.ticks():
        at, text = round(waterfall.share(tick) * wide), f"{tick:g}"
        if at >= len(line) + bool(line) and at + len(text) <= wide:
            line = line.ljust(at) + text
    return line


def _line(waterfall: Waterfall, row: Row, glyphs: Mapping[str, str], wide: int) -> str:
    mark = glyphs["critical"] if row.critical else " "
    figures = f"{took(row)} · {tokens(row)}"
    return f"{mark} {short(row.title, _NAME - 2):<{_NAME - 2}} {_bar(waterfall, row, glyphs, wide)} {figures}"


def _bar(waterfall: Waterfall, row: Row, glyphs: Mapping[str, str], wide: int) -> str:
    cells = [" "] * wide
    for segment in row.segments:
        first, last = (min(wide - 1, int(waterfall.share(at_s) * wide)) for at_s in (segment.from_s, segment.to_s))
        for place in range(first, last + 1):
            cells[place] = glyphs[segment.kind]
    end = min(wide - 1, int(waterfall.share(row.ended_s) * wide))
    if row.folded:
        cells[min(wide - 1, int(waterfall.share(row.median_end_s) * wide))] = glyphs["median"]
    elif row.replayed:
        cells[end] = glyphs["replayed"]
    elif row.outcomes.keys() != {"done"}:
        cells[end] = glyphs[next(name for name in row.outcomes if name != "done")]
    elif not row.segments:
        cells[end] = glyphs["done"]
    return "".join(cells)


def _printable(text: str) -> bool:
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return False
    return True
