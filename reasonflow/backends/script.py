"""What a scripted engine answers with: texts, chances and failures, in every form a script may take."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from reasonflow.errors import BackendError, InputError

Fault: TypeAlias = BaseException | type[BaseException]
Chances: TypeAlias = Mapping[str, float]
"""One token: how probable each text is at its place. The likeliest is what is generated."""
Scripted: TypeAlias = str | Chances | tuple[str | Chances, ...] | Fault
"""One sample's text, whole or in parts, or what fails instead. Plain text is certain: its probability is 1."""
Answer: TypeAlias = Callable[[str, int | None, int], Scripted]
"""Of the chat's text, the sample's own seed and its place in the request."""
Script: TypeAlias = Scripted | Sequence[Scripted] | Answer


def answers(script: Script) -> Answer:
    """The script as a function. Raises InputError for what is none."""
    if isinstance(script, (str, Mapping)) or _is_fault(script):
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


def parts_of(scripted: object) -> tuple[str | Chances, ...] | None:
    """A sample's text in its parts; None for what is no text. Raises InputError for chances that are none."""
    if isinstance(scripted, str):
        return (scripted,)
    parts = scripted if isinstance(scripted, tuple) else (scripted,)
    if not all(isinstance(part, (str, Mapping)) for part in parts):
        return None
    for part in parts:
        if isinstance(part, Mapping):
            _check_chances(part)
    return parts


def likeliest(part: str | Chances) -> str:
    """What is generated of a part; among equal chances the first."""
    return part if isinstance(part, str) else max(part, key=lambda text: part[text])


def _check_chances(chances: Mapping[Any, Any]) -> None:
    numbers = chances.values()
    if (
        not chances
        or not all(isinstance(text, str) and text for text in chances)
        or not all(isinstance(number, (int, float)) and 0 < number <= 1 for number in numbers)
        or sum(numbers) > 1 + 1e-6
    ):
        raise InputError(
            f"a script's chances are {dict(chances)!r}",
            why="they are what one token may be: probabilities above 0 that add up to at most 1",
            fix='write for example {"Yes": 0.8, "No": 0.15}',
        )


def failure(scripted: object) -> BaseException:
    """What to raise for a scripted sample that is no text: a BackendError, or InputError if it is no failure either."""
    if not _is_fault(scripted):
        return InputError(
            f"the script answered with {type(scripted).__name__}",
            why="a scripted sample is a text, chances of a token, a tuple of both, or an exception",
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
