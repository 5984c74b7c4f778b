"""Who has called a tool: it counts by itself, and believes no figure of whoever called it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from threading import Lock
from types import FrameType
from typing import Any

from reasonflow.programs.guessed_actions import GuessedActions


class Witness:
    """Counts the calls of a tool. `tool` is what an agent is given, under the same name."""

    def __init__(self, tool: Callable[..., Any]) -> None:
        self.guessed = self.asked = 0
        """Calls that a guess has started, and all others, since they were last taken."""
        self._lock = Lock()

        @wraps(tool)
        def seen(**arguments: Any) -> Any:
            guessed = is_guessed()
            with self._lock:
                self.guessed += guessed
                self.asked += not guessed
            return tool(**arguments)

        self.tool = seen

    def take(self) -> tuple[int, int]:
        """(guessed, asked), which are 0 from now on."""
        with self._lock:
            found = self.guessed, self.asked
            self.guessed = self.asked = 0
        return found


def is_guessed() -> bool:
    """Whether a guess has started what runs here: who called it stands in the stack of its thread."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code is not GuessedActions._work.__code__:
        frame = frame.f_back
    return frame is not None
