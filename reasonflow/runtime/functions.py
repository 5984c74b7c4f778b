"""A user's functions inside a run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import dspy
from anyio import to_thread
from dspy import lm15
from dspy.utils.exceptions import LMError

from reasonflow.errors import ReasonFlowError, RunError


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


@contextmanager
def own_errors() -> Iterator[None]:
    """An error of ours that DSPy has wrapped into one of its own on its way through a module leaves as itself."""
    try:
        yield
    except LMError as error:
        cause = error.__cause__
        while isinstance(cause, (LMError, lm15.LM15Error)):
            cause = cause.__cause__
        if isinstance(cause, ReasonFlowError):
            raise cause from error
        raise


async def call_function(fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """`fn` with real values: awaited if it is async, in a worker thread if it is not.

    A thread cannot be stopped: when the run is cancelled it is left to end by itself.
    """
    if isinstance(fn, dspy.Module):
        if callable(getattr(fn, "aforward", None)):  # DSPy's base class has none
            return await fn.acall(*args, **kwargs)
    elif inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None)):  # noqa: B004
        return await fn(*args, **kwargs)
    result = await to_thread.run_sync(partial(fn, *args, **kwargs), abandon_on_cancel=True)
    return await result if inspect.isawaitable(result) else result
