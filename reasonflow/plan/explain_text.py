"""An explanation as text: the tree for a terminal, and the phrases that the HTML uses too."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from reasonflow.plan.bounds import Bound
from reasonflow.plan.serialise import digest

if TYPE_CHECKING:
    from reasonflow.plan.explain import Explanation, Measured, Row

WIDTH = 100
"""Columns; lines that would be longer continue below themselves."""
_KINDS = 10
"""Different notes shown; a run with more kinds of trouble is read in its record."""
_PLACES = 3
"""Branches listed one by one; of more, only the steps are."""
_LINE, _BLANK = "│  ", "   "
_GLUE = "\N{NO-BREAK SPACE}"
"""Between a number and its word while lines are broken."""

COLUMNS = {
    "samples": "completions drawn",
    "computed": "prompt tokens the engine computed",
    "cached": "prompt tokens the engine found in its prefix cache",
    "planned": "prompt tokens that were to be in its prefix cache, by the token trie",
    "generated": "output tokens",
    "s queued": "seconds that samples waited, summed",
    "s running": "seconds from leaving the queue to the last token, summed",
    "critical": "input and output tokens on the critical path",
    "failed": "samples that ended without a record",
    "cancelled": "samples taken out of the engine because they could not matter any more",
    "repaired": "samples whose text had to be repaired to be read",
}
"""What is shown of a measured step, each with its meaning."""


def as_text(explanation: Explanation) -> str:
    """The tree, what a run measured below each step, sums and grouped notes at the end."""
    lines = [f"{explanation.program}  plan {digest(explanation.plan)[:12]}"]
    if explanation.budget is not None:
        lines += _wrapped(spell_budget(explanation), "  ")
    lines += _wrapped(f"at most: {spell_bound(explanation.bound)}", "  ")
    for row, (branch, below) in zip(explanation.rows(), _leads(explanation.rows()), strict=True):
        figures = explanation.figures.get(row.node.name)
        lines.append(f"{branch}{row.title}")
        for text in [*([f"→ {_spell_figures(figures)}"] if figures else []), *marks(figures), *row.detail]:
            lines += _wrapped(text, below)
    lines += [f"  {name}: {value}" for name, value in explanation.totals.items()]
    for text in notes(explanation):
        lines += _wrapped(text, "  ")
    return "\n".join(lines)


def notes(explanation: Explanation) -> Iterator[str]:
    """What is to be known of the engine, what was repaired and what failed, equal ones as one."""
    yield from explanation.notes
    for kind, found in (("repaired", explanation.repairs), ("failed", explanation.failures)):
        yield from (f"{kind}: {text}" for text in grouped(found))


def grouped(found: Iterable[str]) -> list[str]:
    """Notes of the form `branch: text`, equal texts counted: `12 × text (draft, refine)`, in order of appearance."""
    places: dict[str, list[str]] = {}
    for note in found:
        place, _, text = note.partition(": ")
        places.setdefault(" ".join(text.split()), []).append(place)
    lines = [f"{len(where)} × {text} ({_spell_places(where)})" for text, where in places.items()]
    rest = len(lines) - _KINDS
    return [*lines[:_KINDS], *([f"{rest} other kinds: the run's record lists them"] if rest > 0 else [])]


def shown(figures: Measured) -> dict[str, str]:
    """The figures under the names of `COLUMNS`."""
    values = (
        f"{figures.samples:,}",
        f"{figures.input_tokens - figures.cached_tokens:,}",
        f"{figures.cached_tokens:,}",
        f"{figures.planned_tokens:,}",
        f"{figures.output_tokens:,}",
        f"{figures.queued_s:.2f}",
        f"{figures.running_s:.2f}",
        f"{figures.critical_tokens:,}",
        f"{figures.failed:,}",
        f"{figures.cancelled:,}",
        f"{figures.repaired:,}",
    )
    return dict(zip(COLUMNS, values, strict=True))


def columns(measured: Iterable[Measured]) -> list[str]:
    """The names of what is worth showing: failures, repairs and plans only where there are some."""
    found = list(measured)
    needless = {
        name for name in ("failed", "cancelled", "repaired") if not any(getattr(figures, name) for figures in found)
    }
    if not any(figures.foreseen for figures in found):
        needless.add("planned")
    return [name for name in COLUMNS if name not in needless]


def marks(figures: Measured | None) -> list[str]:
    """What stands out in a measured step."""
    return [f"‼ {figures.shortfall}"] if figures is not None and figures.shortfall else []


def spell_budget(explanation: Explanation) -> str:
    """A plan's budget in one line; empty where there is none."""
    if explanation.budget is None:
        return ""
    ends = "" if explanation.finishes else ": too little to finish, a run ends at an earlier answer"
    return f"budget: {explanation.budget}{ends}"


def spell_bound(worst: Bound) -> str:
    """A plan's worst case in one line."""

    def tokens(count: int | None) -> str:
        return "unbounded (no window known)" if count is None else f"{count:,}"

    return (
        f"{worst.calls:,} calls, {worst.alive:,} at once, {tokens(worst.sequential_tokens)} sequential, "
        f"{tokens(worst.total_tokens)} total tokens, {tokens(worst.output_tokens)} generated"
    )


def _spell_figures(figures: Measured) -> str:
    values = shown(figures)
    one = {"samples": "sample"} if figures.samples == 1 else {}
    told = (f"{values[name]} {one.get(name, name)}" for name in columns([figures]))
    return ", ".join(phrase.replace(" ", _GLUE) for phrase in told)


def _spell_places(places: Sequence[str]) -> str:
    if len(places) > _PLACES:
        places = list(dict.fromkeys(place.partition("[")[0] for place in places))
    return ", ".join(places)


def _leads(rows: Sequence[Row]) -> Iterator[tuple[str, str]]:
    """For each row what stands before its title, and before the lines below the title."""
    last: list[bool] = []
    for number, row in enumerate(rows):
        later = rows[number + 1 :]
        end = next((index for index, other in enumerate(later) if other.depth < row.depth), len(later))
        last[row.depth :] = [all(other.depth != row.depth for other in later[:end])]
        lead = "".join(_BLANK if closed else _LINE for closed in last[:-1])
        body = _LINE if later and later[0].depth > row.depth else _BLANK
        yield f"{lead}{'└─' if last[-1] else '├─'} ", f"{lead}{_BLANK if last[-1] else _LINE}{body}"


def _wrapped(text: str, lead: str) -> list[str]:
    """Never broken inside a word: names and figures stay findable."""
    lines = textwrap.wrap(
        text,
        WIDTH,
        initial_indent=lead,
        subsequent_indent=f"{lead}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace(_GLUE, " ") for line in lines]
