"""What functions inside a run can put on its record."""

from __future__ import annotations

import contextvars
from collections.abc import Callable

NOTES: contextvars.ContextVar[Callable[[str], None] | None] = contextvars.ContextVar("reasonflow_notes", default=None)
"""Where the notes of the run in this context go."""


def note(text: str) -> None:
    """Say, from a function in `rf.call`, what had to be repaired or guessed: the run record shows it.

    Outside a run it does nothing, so that such functions stay usable by themselves.
    """
    write = NOTES.get()
    if write is not None:
        write(text)
