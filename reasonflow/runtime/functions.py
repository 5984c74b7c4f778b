"""A user's functions inside a run."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import dspy
from anyio import CapacityLimiter, to_thread

from reasonflow.errors import RunError
from reasonflow.language.program import Program


@contextmanager
def contained(name: str) -> Iterator[None]:
    """A user's function that asks Python to exit ends its run: on an event loop it would end the engine's for good."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as error:
        raise RunError(
            f"{name} raised {type(error).__name__}",
            why="inside a run a function cannot end the process",
            fix="raise an ordinary exception there",
        ) from error


async def call_function(fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """`fn` with real values: awaited if it is async, in a worker thread if it is not.

    A DSPy module goes to a thread where it can: the asynchronous sides of some (RLM) block their loop, which would be
    the engine's. A thread cannot be stopped: when the run is cancelled it is left to end by itself, and any further
    model call is refused.
    """
    if isinstance(fn, dspy.Module):
        if isinstance(fn, Program) or not callable(getattr(type(fn), "forward", None)):
            return await fn.acall(*args, **kwargs)
    elif inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None)):  # noqa: B004
        return await fn(*args, **kwargs)
    # Without a limit: functions that call programs wait for the functions of those.
    work = partial(fn, *args, **kwargs)
    result = await to_thread.run_sync(work, abandon_on_cancel=True, limiter=CapacityLimiter(math.inf))
    return await result if inspect.isawaitable(result) else result
