"""What functions inside a run can put on its record."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import TypeAlias

Write: TypeAlias = Callable[[str, bool], None]
"""Takes a text, and whether it tells of a repair."""
NOTES: contextvars.ContextVar[Write | None] = contextvars.ContextVar("reasonflow_notes", default=None)
"""Where the notes of the run in this context go."""


def note(text: str, *, repair: bool = True) -> None:
    """Say, from a function in `rf.call`, what had to be repaired or guessed: the run record shows it.

    repair: False for what only informs: it stands in `run.notes`, and evaluations do not count the run as repaired.
    Outside a run it does nothing, so that such functions stay usable by themselves.
    """
    write = NOTES.get()
    if write is not None:
        write(text, repair)
