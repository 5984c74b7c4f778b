"""The order in which things end with the interpreter: runs first, then engines, then everybody else's hooks."""

from __future__ import annotations

import atexit
from collections.abc import Callable

Hook = Callable[[], None]

_runtimes: list[Hook] = []
_engines: list[Hook] = []


def runtimes_end(hook: Hook) -> None:
    """Call `hook` at exit, before any engine ends."""
    _runtimes.append(hook)
    _renew()


def engine_ends(hook: Hook) -> None:
    """Call `hook` at exit, before the hooks of libraries imported so far: hooks run last in, first out."""
    forget(hook)
    _engines.append(hook)
    _renew()


def forget(hook: Hook) -> None:
    if hook in _engines:
        _engines.remove(hook)


def _renew() -> None:
    atexit.unregister(_end)
    atexit.register(_end)


def _end() -> None:
    for hook in (*_runtimes, *reversed(_engines)):
        hook()
