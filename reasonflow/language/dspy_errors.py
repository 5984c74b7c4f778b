"""Errors of ours that pass through DSPy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dspy import lm15
from dspy.utils.exceptions import LMError

from reasonflow.errors import ReasonFlowError


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
