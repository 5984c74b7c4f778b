"""How a law is stated, and what it says when it is broken."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import TypeAlias, TypeVar

T = TypeVar("T")
Law: TypeAlias = Callable[[T], Awaitable[None]]


class LawBroken(AssertionError):
    """An implementation breaks a law of its interface; the message names the law and what was seen."""


def law(function: Law[T]) -> Law[T]:
    """What the function asserts, under the function's name and the first line of its docstring."""
    name = getattr(function, "__name__", "law")
    says = (function.__doc__ or "").strip().splitlines()[0]

    @functools.wraps(function)
    async def checked(subject: T) -> None:
        try:
            await function(subject)
        except AssertionError as error:
            raise LawBroken(f"{name}: {says}\nseen: {error}") from error

    return checked


def hold(condition: bool, seen: str) -> None:
    """Raise AssertionError with what was seen unless the condition holds, also under `python -O`."""
    if not condition:
        raise AssertionError(seen)
