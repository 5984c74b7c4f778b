"""Equality of values from outside, some of which have their own ideas of `==`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def same(one: Any, other: Any) -> bool:
    """Equality of plain values and of what is built from them; of anything else (arrays and the like) identity."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return isinstance(one, (str, bytes, int, float, bool)) and bool(one == other)
