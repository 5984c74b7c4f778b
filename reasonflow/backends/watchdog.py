"""Tells when something that should make progress has made none for too long."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Watchdog:
    """A thread that looks now and then, barks at most once, and ends with `stop` or with the interpreter."""

    def __init__(self, limit_s: float, silent_s: Callable[[], float], bark: Callable[[float], None], name: str) -> None:
        """silent_s: seconds without progress so far. bark: told them once they exceed `limit_s`."""
        self._limit_s = limit_s
        self._silent_s = silent_s
        self._bark = bark
        self._stopped = threading.Event()
        threading.Thread(target=self._watch, name=name, daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def _watch(self) -> None:
        while not self._stopped.wait(min(5.0, self._limit_s / 4)):
            silent_s = self._silent_s()
            if silent_s > self._limit_s:
                self._bark(silent_s)
                return
