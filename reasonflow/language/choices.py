"""Topology a program leaves open: values that optimizers may change."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from dspy.predict.parameter import Parameter

from reasonflow.errors import InputError


class Choice(Parameter):
    """One value out of `options`. Stands for its value in `n=`, in indexing, iteration, comparison and arithmetic.

    DSPy sees a parameter: `save` and `load` keep the value, `reset` leaves it alone (DSPy resets parameters to
    forget what was learnt from data, and a default width is not that). only: no value beside the options can be set;
    otherwise they are what is searched, and any other may be set by hand.
    """

    def __init__(self, value: Any, options: Sequence[Any] | None = None, *, only: bool = True) -> None:
        self.options = [freeze(option) for option in options] if options is not None else None
        self.value = freeze(value)
        self.only = only
        if self.options is not None and self.value not in self.options:
            self.options.insert(0, self.value)

    def set(self, value: Any) -> None:
        """Choose another value. Raises InputError if it is none of the options."""
        frozen = freeze(value)
        if self.only and self.options is not None and frozen not in self.options:
            raise InputError(f"{frozen!r} is no option of this Choice", why=f"options: {self.options}")
        self.value = frozen

    def reset(self) -> None:
        """Nothing: see the class."""

    def dump_state(self, json_mode: bool = True) -> dict[str, Any]:
        """The value, in JSON's types."""
        return {"value": self.value}

    def load_state(self, state: dict[str, Any]) -> Choice:
        """Take the value of `dump_state`; JSON's lists become the tuples they were."""
        self.value = freeze(state["value"])
        return self

    def __getitem__(self, key: Any) -> Any:
        return self.value[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.value)

    def __len__(self) -> int:
        return len(self.value)

    def __index__(self) -> int:
        return int(self.value.__index__())

    def __int__(self) -> int:
        return int(self.value)

    def __float__(self) -> float:
        return float(self.value)

    def __bool__(self) -> bool:
        return bool(self.value)

    def __eq__(self, other: object) -> bool:
        return bool(self.value == (other.value if isinstance(other, Choice) else other))

    def __hash__(self) -> int:
        return hash(self.value)

    def __lt__(self, other: Any) -> bool:
        return bool(self.value < resolve(other))

    def __gt__(self, other: Any) -> bool:
        return bool(self.value > resolve(other))

    def __add__(self, other: Any) -> Any:
        return self.value + resolve(other)

    def __sub__(self, other: Any) -> Any:
        return self.value - resolve(other)

    def __mul__(self, other: Any) -> Any:
        return self.value * resolve(other)

    def __repr__(self) -> str:
        return f"Choice({self.value!r})"


class Range(Choice):
    """One number between `low` and `high`, both included. Stands for it as a Choice stands for its value.

    Whole where value, low and high are. log: optimizers look at its logarithm, as fits a width from 1 to 256. Raises
    InputError for a range that is empty or without end, and for a value outside.
    """

    def __init__(self, value: float, low: float, high: float, *, log: bool = False) -> None:
        if not all(_is_number(end) for end in (low, high)) or not low < high:
            raise InputError(f"a Range from {low!r} to {high!r} holds nothing to choose", fix="give low < high")
        if log and low <= 0:
            raise InputError(f"a Range from {low!r} has no logarithm", fix="begin above 0, or leave log out")
        self.low, self.high, self.log = low, high, log
        self.whole = all(isinstance(number, int) for number in (value, low, high))
        """Only whole numbers are chosen."""
        super().__init__(self._checked(value))

    def set(self, value: Any) -> None:
        """Choose another number. Raises InputError outside the range, and for a fraction of a whole one."""
        self.value = self._checked(value)

    def load_state(self, state: dict[str, Any]) -> Range:
        """Take the value of `dump_state`; one outside the range is refused as by `set`."""
        self.set(state["value"])
        return self

    def _checked(self, value: Any) -> float:
        if not _is_number(value) or not self.low <= value <= self.high:
            raise InputError(f"{value!r} is outside this Range", why=f"it goes from {self.low:g} to {self.high:g}")
        if self.whole and value != int(value):
            raise InputError(f"{value!r} is no whole number, and this Range holds only those")
        return int(value) if self.whole else float(value)

    def __repr__(self) -> str:
        return f"Range({self.value!r}, {self.low!r}, {self.high!r})"


def opened(value: Any, options: Sequence[Any]) -> Choice:
    """What a constructor was given as a Choice: a Choice as it is, any other value among these options."""
    return value if isinstance(value, Choice) else Choice(value, options, only=False)


def as_choice(value: Any) -> Choice:
    """What a constructor was given as a Choice: a Choice as it is, any other value as its only option so far."""
    return value if isinstance(value, Choice) else Choice(value)


def resolve(value: Any) -> Any:
    """A Choice's value; anything else as it is."""
    return value.value if isinstance(value, Choice) else value


def freeze(value: Any) -> Any:
    """Its lists as tuples, at every depth: what JSON makes of a tuple, made one again."""
    return tuple(freeze(part) for part in value) if isinstance(value, (list, tuple)) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
