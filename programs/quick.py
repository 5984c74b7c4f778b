"""Steps of a program that only move values about: run where they stand, not in a thread of their own.

A plain function goes to a worker thread, because it may wait for something. Of dozens of small steps that begin at one
moment the threads cost more than the steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class quick:  # noqa: N801  # read as a word at its call: rf.call(quick(machine.join), ...)
    """A function that neither waits nor computes for long. Two of equal functions are equal, as plans compare them."""

    fn: Callable[..., Any]

    @property
    def __name__(self) -> str:
        """What the step is called."""
        return self.fn.__name__

    @property
    def __wrapped__(self) -> Callable[..., Any]:
        """Whose name and signature it has."""
        return self.fn

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the function gives."""
        return self.fn(*args, **kwargs)


def nothing() -> None:
    """The other body of a `rf.when` that has none."""
