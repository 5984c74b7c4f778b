"""What drafts say about each quantity, counted; and when that settles it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TypeAlias

from reasonflow.evals.tasks.reading import statements

Counts: TypeAlias = tuple[tuple[int, int], ...]
"""(value, how many drafts state it), the most frequent first."""
_PLAIN = re.compile(
    r"(?!the )([a-z]+ [a-z]+) = (?:[a-z]+ [a-z]+ [-+*/] (?:[a-z]+ [a-z]+|\d{1,9}) = )?"
    r"(?:\d{1,9} (?:[-+*/] \d{1,9} )?= )?(\d{1,9})"
)
"""A line as nearly all are written, which `statements` reads alike in three times the time."""


def tally(drafts: Iterable[str | None]) -> dict[str, Counts]:
    """Name to its values. Of a draft that states a name twice the last statement counts; ties keep first appearance."""
    found: dict[str, dict[int, int]] = {}
    for draft in drafts:
        if draft is None:
            continue
        for name, value in stated(draft).items():
            values = found.setdefault(name, {})
            values[value] = values.get(value, 0) + 1
    return {name: ordered(values) for name, values in found.items()}


def stated(draft: str) -> dict[str, int]:
    """Name to the value of its last statement in a text, as `reading.statements` finds them."""
    found: dict[str, int] = {}
    for line in draft.split("\n"):
        match = _PLAIN.fullmatch(line)
        if match:
            found[match[1]] = int(match[2])
        elif "=" in line:
            found.update((statement.name, statement.value) for statement in statements(line))
    return found


def ordered(values: Mapping[int, int]) -> Counts:
    """The values by their counts; equal counts keep their order."""
    return tuple(sorted(values.items(), key=lambda pair: -pair[1]))


def settled(counts: Counts, drafts: int) -> int | None:
    """The value that this many drafts settle on; None where they do not.

    More than twice as many state it as any other, and at least two do, unless there is only one draft.
    """
    if not counts:
        return None
    first = counts[0][1]
    second = counts[1][1] if len(counts) > 1 else 0
    return counts[0][0] if first > 2 * second and (first >= 2 or drafts == 1) else None


def agreed(counts: Counts, drafts: int) -> bool:
    """Whether more than half of so many drafts state the same value."""
    return bool(counts) and 2 * counts[0][1] > drafts
