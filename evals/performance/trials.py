"""The trials of one measurement: every arm, repeat by repeat."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar


class OfAnArm(Protocol):
    """One run of one arm."""

    @property
    def arm(self) -> str: ...

    @property
    def repeat(self) -> int: ...


Trial = TypeVar("Trial", bound=OfAnArm)


def by_repeat(trials: Iterable[Trial], arm: str) -> list[Trial]:
    """Those of the arm, in the order of their repeats."""
    return sorted((trial for trial in trials if trial.arm == arm), key=lambda trial: trial.repeat)


def over_ours(trials: Iterable[Trial], arm: str, measure: Callable[[Trial], float]) -> list[float]:
    """What an arm measured over what ours did in the same repeat."""
    trials = list(trials)
    pairs = zip(by_repeat(trials, arm), by_repeat(trials, "ours"), strict=True)
    return [measure(trial) / measure(ours) for trial, ours in pairs]
