"""How an optimizer of DSPy is ended from within."""

from __future__ import annotations


class Stopped(BaseException):
    """Ends an optimizer wherever it stands. No Exception: those DSPy counts as wrong answers and goes on.

    error: what ended it, where that is one; else the budget is spent.
    """

    def __init__(self, reason: str, error: Exception | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.error = error
