"""Draws that are made of `Random.random()` alone, whose sequence no version of Python changes."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TypeVar

Item = TypeVar("Item")


def between(random: Random, least: int, greatest: int) -> int:
    """A whole number, both ends included."""
    return least + int(random.random() * (greatest - least + 1))


def pick(random: Random, items: Sequence[Item]) -> Item:
    """One of them."""
    return items[int(random.random() * len(items))]


def shuffle(random: Random, items: list[Item]) -> None:
    """Put the list in random order."""
    for last in range(len(items) - 1, 0, -1):
        chosen = int(random.random() * (last + 1))
        items[last], items[chosen] = items[chosen], items[last]
