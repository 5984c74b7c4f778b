"""What a value will look like, known before anything runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class RecordShape:
    """What one model call gives: named fields beside its text."""

    fields: tuple[str, ...]

    def __str__(self) -> str:
        return "record(" + ", ".join(self.fields) + ")"


@dataclass(frozen=True, slots=True)
class ListShape:
    """Several values of one shape, one a branch. A failed branch stays in it as a hole."""

    item: Shape
    width: int
    """How many at most; exactly so many unless `exact` is false."""
    exact: bool = True

    def __str__(self) -> str:
        return f"list[{'' if self.exact else '≤ '}{self.width}] of {self.item}"


@dataclass(frozen=True, slots=True)
class StructShape:
    """A fixed nesting the program built itself: a tuple (integer keys) or a dict (string keys)."""

    keys: tuple[str | int, ...]
    items: tuple[Shape, ...]

    def __str__(self) -> str:
        return "{" + ", ".join(f"{key}: {item}" for key, item in zip(self.keys, self.items, strict=True)) + "}"


@dataclass(frozen=True, slots=True)
class ValueShape:
    """One opaque value: a field, an input, a function's result. Its depth is 0."""

    def __str__(self) -> str:
        return "value"


Shape: TypeAlias = RecordShape | ListShape | StructShape | ValueShape

VALUE = ValueShape()

RECORD_FIELDS = ("text", "solution", "thinking", "logprobs", "watched_score")
"""What every record has beside its signature's fields."""
