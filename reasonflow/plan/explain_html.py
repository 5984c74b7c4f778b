"""An explanation as HTML for notebooks: inline styles alone, no colours of its own, so that every theme fits."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from reasonflow.plan.explain_text import COLUMNS, columns, marks, notes, shown, spell_bound, spell_budget
from reasonflow.plan.serialise import digest

if TYPE_CHECKING:
    from reasonflow.plan.explain import Explanation, Row

_LINE = "1px solid rgba(128,128,128,.4)"
_HANGING = "padding-left:2.2em;text-indent:-1em"
_PALE = "opacity:.7;font-size:90%"
# Notebooks stripe the rows of every table and give all columns one width; only inline styles win against their sheets.
_TABLE = "table-layout:auto;width:100%;margin:.4em 0;border-collapse:collapse;border:none"
_ROW = "background:none"
_STEP = "padding:0 1em 0 0;text-align:left;vertical-align:top;width:100%;min-width:12em;overflow-wrap:anywhere"
_FIGURE = "padding:.3em .5em 0;text-align:right;vertical-align:top;white-space:nowrap;font-variant-numeric:tabular-nums"


def as_html(explanation: Explanation) -> str:
    """A table: a step and its figures in one row, what there is to say about it below in the table's full width."""
    names = columns(explanation.figures.values()) if explanation.figures else []
    rows = explanation.rows()
    below = [*(later.depth for later in rows[1:]), 0]
    body = "".join(_step(explanation, row, row.depth < depth, names) for row, depth in zip(rows, below, strict=True))
    return (
        f"<div style='max-width:75em;line-height:1.35'><b>{html.escape(explanation.program)}</b> "
        f"<code>{digest(explanation.plan)[:12]}</code>"
        f"{_budget(explanation)}<div style='{_PALE}'>at most: {html.escape(spell_bound(explanation.bound))}</div>"
        f"<table style='{_TABLE}'>{_head(names)}{body}</table>"
        f"{_totals(explanation)}{_notes(explanation)}</div>"
    )


def _head(names: list[str]) -> str:
    if not names:
        return ""
    cells = "".join(f"<th style='{_FIGURE}' title='{html.escape(COLUMNS[name])}'>{name}</th>" for name in names)
    return f"<tr style='{_ROW}'><th style='{_STEP}'><div style='padding-top:.3em'>step</div></th>{cells}</tr>"


def _step(explanation: Explanation, row: Row, has_body: bool, names: list[str]) -> str:
    figures = explanation.figures.get(row.node.name)
    cells = ""
    if figures:
        values = shown(figures)
        cells = "".join(f"<td style='{_FIGURE}'>{values[name]}</td>" for name in names)
    wide = f" colspan='{1 + len(names)}'"
    name = html.escape(row.title).replace("/", "/<wbr>")  # long paths break between their steps
    title = f"<div style='padding:.3em 0 0' title='{html.escape(row.node.source)}'>{name}</div>"
    texts = "".join(f"<div style='{_HANGING}'>{html.escape(text)}</div>" for text in (*marks(figures), *row.detail))
    detail = f"<div style='padding-bottom:.4em;{_PALE}'>{texts}</div>"
    line = "" if row.depth else f";border-top:{_LINE}"
    first = f"<td style='{_STEP}'{'' if figures else wide}>{_guides(row.depth, title)}</td>{cells}"
    second = f"<td style='{_STEP}'{wide}>{_guides(row.depth + has_body, detail)}</td>"
    return f"<tr style='{_ROW}{line}'>{first}</tr><tr style='{_ROW}'>{second}</tr>"


def _guides(depth: int, inner: str) -> str:
    """`inner`, to the right of one line for each level above it; cells without padding join the lines of all rows."""
    for _ in range(depth):
        inner = f"<div style='margin-left:.4em;padding-left:1.1em;border-left:{_LINE}'>{inner}</div>"
    return inner


def _budget(explanation: Explanation) -> str:
    text = spell_budget(explanation)
    return f"<div>{html.escape(text)}</div>" if text else ""


def _totals(explanation: Explanation) -> str:
    cells = "".join(
        f"<div><div style='{_PALE}'>{html.escape(name)}</div>{html.escape(value)}</div>"
        for name, value in explanation.totals.items()
    )
    return f"<div style='display:flex;flex-wrap:wrap;gap:.4em 2em'>{cells}</div>" if cells else ""


def _notes(explanation: Explanation) -> str:
    lines = "".join(f"<div>{html.escape(text)}</div>" for text in notes(explanation))
    return f"<div style='margin-top:.4em'>{lines}</div>" if lines else ""
