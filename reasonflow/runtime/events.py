"""What happens in a run, as it happens: the events of `program.stream(...)`.

Every event says when it happened, in seconds after the run began, and where: the plan's node and the branch, round and
sample numbers on the way, outermost first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened in a run."""

    at_s: float
    node: str
    indices: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchStarted(Event):
    """A sample was handed to the engine's queue."""

    input_tokens: int | None
    """Of its prompt; None where the engine takes no token prompts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Token(Event):
    """A sample gained text: one token, or a few that came together."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchEnded(Event):
    """A sample ended by itself."""

    text: str
    """All of it."""
    input_tokens: int
    cached_tokens: int | None
    output_tokens: int
    replayed: bool = False
    """It was not computed: an earlier session of the same evaluation had recorded it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled(Event):
    """A sample was taken out of the engine because its result could not matter any more."""

    output_tokens: int
    tokens_saved: int
    """Output tokens it could still have written at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined(Event):
    """Several branches became one value: a vote, a selection, a race, a quorum."""

    branches: int
    """How many there were to choose from."""
    value: Any
    after: int | None = None
    """How many of them had come where the others could not change it any more and went on; None: all there were."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired(Event):
    """Something had to be guessed, repaired or left out."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer(Event):
    """The run has an answer it may return if it is cut short; a later one replaces it."""

    value: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished(Event):
    """The run has ended; the last event. Failures are not events: they are raised."""

    output: Any
    """The program's prediction, its run record included."""


Watch: TypeAlias = Callable[[Event], None]
"""Told of every event of a run, on the runtime's thread: it must be quick, and never raise."""
