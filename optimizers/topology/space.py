"""The settings a program leaves open: every `Choice` with several options and every `Range`, by attribute path."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from reasonflow.errors import InputError
from reasonflow.language.choices import Choice, Range
from reasonflow.language.parts import of_kind, parts_of
from reasonflow.language.program import Program

Settings: TypeAlias = Mapping[str, Any]
"""A value for each dimension, by its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """One value out of several."""

    name: str
    values: tuple[Any, ...]

    @property
    def size(self) -> float:
        """How many values it has."""
        return len(self.values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A number between two ends, both included."""

    name: str
    low: float
    high: float
    log: bool
    whole: bool

    @property
    def size(self) -> float:
        """How many values it has."""
        return self.high - self.low + 1 if self.whole else math.inf

    def at(self, place: float) -> float:
        """The value at a place from 0, its lower end, to 1; by the logarithm where it says so."""
        if self.log:
            found = math.exp(math.log(self.low) + place * (math.log(self.high) - math.log(self.low)))
        else:
            found = self.low + place * (self.high - self.low)
        found = min(self.high, max(self.low, found))  # a rounding error is no reason to be outside
        return round(found) if self.whole else found

    def place(self, value: float) -> float:
        """Where a value stands, from 0 to 1."""
        if self.log:
            return (math.log(value) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        return (value - self.low) / (self.high - self.low)


Dimension: TypeAlias = Options | Interval


@dataclass(frozen=True, slots=True)
class Space:
    """All dimensions of a program, in the order of its attributes."""

    dimensions: tuple[Dimension, ...]

    @property
    def size(self) -> float:
        """How many settings there are."""
        return math.prod(dimension.size for dimension in self.dimensions)

    def all(self) -> Iterator[Settings]:
        """Every setting. Only of a space whose size is finite."""
        names = [dimension.name for dimension in self.dimensions]
        values = [
            dimension.values if isinstance(dimension, Options) else range(int(dimension.low), int(dimension.high) + 1)
            for dimension in self.dimensions
        ]
        return (dict(zip(names, found, strict=True)) for found in itertools.product(*values))

    def to_json(self) -> dict[str, Any]:
        """What may be chosen, by name."""
        return {
            dimension.name: list(dimension.values)
            if isinstance(dimension, Options)
            else {"low": dimension.low, "high": dimension.high, "log": dimension.log}
            for dimension in self.dimensions
        }


def space_of(program: Program) -> Space:
    """What may be chosen of this program. Raises InputError where there is nothing."""
    found = choices_of(program)
    dimensions = [dimension for name, choice in found.items() if (dimension := _dimension(name, choice)) is not None]
    if not dimensions:
        have = ", ".join(f"{name} = {choice.value!r}" for name, choice in found.items())
        raise InputError(
            f"{type(program).__name__} has nothing to tune",
            why=f"its choices have one option each: {have}" if have else "no rf.Choice and no rf.Range is in it",
            fix="say what may be chosen: self.n = rf.Choice(4, options=[2, 4, 8]), or rf.Range(4, 1, 16)",
        )
    return Space(tuple(dimensions))


def choices_of(program: Program) -> dict[str, Choice]:
    """All choices in a program, by attribute path."""
    return of_kind(dict(parts_of(program)), Choice)


def current(program: Program, space: Space) -> Settings:
    """What a program is set to."""
    found = choices_of(program)
    return {dimension.name: found[dimension.name].value for dimension in space.dimensions}


def with_settings(program: Program, settings: Settings) -> Program:
    """A copy of the program that is set so. Raises InputError for a value that is none of the options."""
    copied: Program = program.deepcopy()
    found = choices_of(copied)
    for name, value in settings.items():
        if name not in found:
            raise InputError(f"{type(program).__name__} has no choice {name!r}", fix=f"it has {', '.join(found)}")
        found[name].set(value)
    return copied


def spell(settings: Settings) -> str:
    """Settings as a text that is equal for equal settings."""
    return json.dumps(settings, sort_keys=True, default=repr)


def shown(settings: Settings) -> str:
    """Settings as people read them."""
    return ", ".join(f"{name}={_short(value)}" for name, value in settings.items())


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value).replace(" ", "") if isinstance(value, (tuple, list)) else str(value)


def _dimension(name: str, choice: Choice) -> Dimension | None:
    if isinstance(choice, Range):
        return Interval(name=name, low=choice.low, high=choice.high, log=choice.log, whole=choice.whole)
    options = (choice.value, *(choice.options or ()))
    distinct: dict[str, Any] = {json.dumps(option, default=repr): option for option in options}
    return Options(name=name, values=tuple(distinct.values())) if len(distinct) > 1 else None
