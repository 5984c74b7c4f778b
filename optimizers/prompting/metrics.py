"""Any metric, asked as it wants to be asked, and its word as a number."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from anyio.from_thread import start_blocking_portal

from reasonflow.errors import InputError


def score_of(found: Any) -> float:
    """What a metric gave, as a number. Raises InputError for what is none."""
    score = found["score"] if isinstance(found, dict) and "score" in found else found
    if not hasattr(score, "__float__"):
        raise InputError(
            f"the metric gave {found!r}", why="a metric says how good a prediction is", fix="return a bool or a number"
        )
    return float(score)


def asked(metric: Callable[..., Any], *given: Any) -> Any:
    """What the metric says of (gold, prediction, trace, name, trace of the site), of which it takes the first few."""
    found = metric(*given[: _arity(metric)])
    if not inspect.isawaitable(found):
        return found

    async def wait() -> Any:
        return await found

    with start_blocking_portal() as portal:  # also where a loop is running, as in a notebook
        return portal.call(wait)


def _arity(metric: Callable[..., Any]) -> int:
    try:
        signature = inspect.signature(metric)
    except (TypeError, ValueError):  # of a builtin nothing is known
        return 2
    for count in (5, 3):
        try:
            signature.bind(*[None] * count)
        except TypeError:
            continue
        return count
    return 2
