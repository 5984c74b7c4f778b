"""What a compile is surrounded by: its progress, the silence of others, and the engine's width."""

from __future__ import annotations

import asyncio
import io
import logging
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TypeVar

import anyio
import dspy
from anyio.from_thread import start_blocking_portal

from reasonflow.backends.dspy_lm_engines import runtime_behind

T = TypeVar("T")

_CONCURRENCY = 16
"""Runs in flight on a language model that does not say how much it can run at once."""


def in_flight(lm: dspy.BaseLM) -> int:
    """Runs side by side that an engine takes: each has one call under way at least."""
    runtime = runtime_behind(lm)
    return _CONCURRENCY if runtime is None else max(1, runtime.backend.max_running)


def to_stderr(text: str) -> None:
    """A line for people."""
    print(text, file=sys.stderr, flush=True)


def wait_for(work: Callable[[], Awaitable[T]]) -> T:
    """The result of a coroutine function, also where a loop is running, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return anyio.run(work)
    with start_blocking_portal() as portal:
        return portal.call(work)


@contextmanager
def quiet(level: int = logging.WARNING) -> Iterator[None]:
    """DSPy's optimizers print and log at length; what they log from this level on stays."""
    logger = logging.getLogger("dspy")
    before = logger.level
    logger.setLevel(level)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(before)
