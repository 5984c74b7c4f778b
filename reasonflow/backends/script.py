"""What a scripted engine answers with: texts and failures, in every form a script may take."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from reasonflow.errors import BackendError, InputError

Fault: TypeAlias = BaseException | type[BaseException]
Scripted: TypeAlias = str | Fault
"""One sample's text, or what fails instead."""
Answer: TypeAlias = Callable[[str, int | None, int], Scripted]
"""Of the chat's text, the sample's own seed and its place in the request."""
Script: TypeAlias = Scripted | Sequence[Scripted] | Answer


def answers(script: Script) -> Answer:
    """The script as a function. Raises InputError for what is none."""
    if isinstance(script, str) or _is_fault(script):
        fixed: Any = script
        return lambda prompt, seed, index: fixed
    if callable(script):
        return script
    if not isinstance(script, Sequence) or not script:
        raise InputError(
            f"a scripted engine cannot answer with {script!r}",
            fix="give a text, a non-empty list of texts, or a function (prompt, seed, index) -> text",
        )
    items, arrivals = tuple(script), iter(range(2**63))
    return lambda prompt, seed, index: items[next(arrivals) % len(items)]


def failure(scripted: object) -> BaseException:
    """What to raise for a scripted sample that is no text: a BackendError, or InputError if it is no failure either."""
    if not _is_fault(scripted):
        return InputError(
            f"the script answered with {type(scripted).__name__}",
            why="a scripted sample is a text or an exception",
            fix="return a str from the answer function",
        )
    raised: Any = scripted
    error = raised("scripted failure") if inspect.isclass(scripted) else raised
    if isinstance(error, BackendError):
        return error
    wrapped = BackendError("the scripted engine failed", why=f"{type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped


def _is_fault(value: object) -> bool:
    return isinstance(value, BaseException) or (inspect.isclass(value) and issubclass(value, BaseException))
