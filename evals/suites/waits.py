"""Tools that take their time: each call waits as long as its kind of tool would, the same call always the same time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from random import Random
from time import sleep
from typing import Any

SIGMA = 0.5
"""Of the logarithm: one call of six takes 1.65 times the median and more."""


@dataclass(frozen=True, slots=True)
class Waits:
    """How long calls take: log-normal, as answers of services are."""

    median_s: float
    """0: nothing waits."""
    seed: int

    def of(self, tool: str, arguments: dict[str, Any]) -> float:
        """Seconds of this call. Equal calls take equal times, in whichever run, and whoever asks for them."""
        random = Random(f"{self.seed}/{tool}/{sorted(arguments.items())}")
        return self.median_s * random.lognormvariate(0.0, SIGMA)


def slow(tool: Callable[..., Any], waits: Waits) -> Callable[..., Any]:
    """The tool under its name and with its description, whose calls take their time first."""

    @wraps(tool)
    def waiting(**arguments: Any) -> Any:
        if waits.median_s:
            sleep(waits.of(tool.__name__, arguments))
        return tool(**arguments)

    return waiting
