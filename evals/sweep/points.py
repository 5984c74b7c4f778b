"""What a sweep measures: points, each a program with its settings and budget; and the folders they are kept in."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import dspy

from reasonflow.errors import InputError
from reasonflow.plan.budget import Budget


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One setting of a program."""

    name: str
    """Its place in the grid: n=4,total=2k. It says what varies, not what all points share."""
    place: tuple[str, ...]
    """The values of the grid's axes as they were written, in the grid's order."""
    program: dspy.Module
    settings: Mapping[str, Any]
    """All constructor arguments, as its manifest knows them."""
    budget: Budget | None
    """Of each run."""

    @property
    def folder(self) -> str:
        """The name of its folder, with nothing in it that a file system minds."""
        return re.sub(r"[^\w.=,-]+", "_", self.name)


@dataclass(frozen=True, slots=True)
class Axis:
    """One thing that varies, as words and as what they mean."""

    name: str
    values: tuple[tuple[str, Any], ...]
    """(as it was written, what it is); at least one."""


def points_of(
    axes: Sequence[Axis],
    budget_axes: Sequence[Axis],
    make: Callable[[Mapping[str, Any]], dspy.Module],
    fixed: Mapping[str, Any],
    budget: Callable[[Iterable[str]], Budget | None],
) -> list[Point]:
    """Every combination, the last axis varying fastest.

    axes: of constructor options. budget_axes: limits, each value a word such as total=2k, empty for none. make: the
    program of these arguments. fixed: arguments all points have. budget: what such words make. Raises InputError for
    two points with one name, and what `make` and `budget` raise.
    """
    found = []
    for values in product(*(axis.values for axis in (*axes, *budget_axes))):
        written = tuple(word for word, _ in values)
        options, limits = values[: len(axes)], values[len(axes) :]
        settings = {**fixed, **{axis.name: value for axis, (_, value) in zip(axes, options, strict=True)}}
        names = [axis.name for axis in (*axes, *budget_axes)]
        found.append(
            Point(
                name=",".join(f"{name}={word}" for name, word in zip(names, written, strict=True)) or "as-it-is",
                place=written,
                program=make(settings),
                settings=settings,
                budget=budget(word for _, word in limits if word),
            )
        )
    folder, count = Counter(point.folder for point in found).most_common(1)[0]
    if count > 1:
        raise InputError(f"{count} points of the grid would be {folder}", fix="name every value once")
    return found
