"""Topology a program leaves open: values that optimizers may change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from dspy.predict.parameter import Parameter

from reasonflow.errors import InputError


class Choice(Parameter):
    """One value out of `options`. Stands for its value in `n=`, in indexing, iteration, comparison and arithmetic.

    DSPy sees a parameter: `save` and `load` keep the value, `reset` leaves it alone (DSPy resets parameters to
    forget what was learnt from data, and a default width is not that).
    """

    def __init__(self, value: Any, options: Sequence[Any] | None = None) -> None:
        self.options = [_freeze(option) for option in options] if options is not None else None
        self.value = _freeze(value)
        if self.options is not None and self.value not in self.options:
            self.options.insert(0, self.value)

    def set(self, value: Any) -> None:
        """Choose another value. Raises InputError if it is none of the options."""
        frozen = _freeze(value)
        if self.options is not None and frozen not in self.options:
            raise InputError(f"{frozen!r} is no option of this Choice", why=f"options: {self.options}")
        self.value = frozen

    def reset(self) -> None:
        """Nothing: see the class."""

    def dump_state(self, json_mode: bool = True) -> dict[str, Any]:
        """The value, in JSON's types."""
        return {"value": self.value}

    def load_state(self, state: dict[str, Any]) -> Choice:
        """Take the value of `dump_state`; JSON's lists become the tuples they were."""
        self.value = _freeze(state["value"])
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


def resolve(value: Any) -> Any:
    """A Choice's value; anything else as it is."""
    return value.value if isinstance(value, Choice) else value


def _freeze(value: Any) -> Any:
    return tuple(_freeze(part) for part in value) if isinstance(value, (list, tuple)) else value
