"""What surrounds a run without being one of its arguments: the budget it draws on, who watches, what is recorded.

It travels in DSPy's own context, so that it reaches the threads of `dspy.Evaluate` and `dspy.Parallel`, and programs
that are called from inside functions of other programs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import dspy

from reasonflow.runtime.events import Watch
from reasonflow.runtime.journal import Journal

if TYPE_CHECKING:
    from reasonflow.language.program import Traced
    from reasonflow.runtime.aside import Asking
    from reasonflow.runtime.ledger import Ledger

_KEY = "reasonflow"


class Host(Protocol):
    """Starts the runs that others ask for: says when, on whose budget, and keeps what they gave.

    It is asked in the caller's thread, from many at once, and runs `start` inside `surrounded(host=None, ...)`.
    """

    def run(self, traced: Traced, inputs: Mapping[str, Any], start: Callable[[], Any]) -> Any:
        """What `start()` gives. Raises what it raises, and whatever ends the work of the caller."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Ambient:
    """Each run takes a snapshot of it when it is launched."""

    ledger: Ledger | None = None
    host: Host | None = None
    """Who starts runs in place of their caller."""
    journal: Journal | None = None
    watch: Watch | None = None
    streamed: bool = False
    """Whether the watch wants to see every token."""
    inside: Asking | None = None
    """The function of a run that this happens in."""


_NOTHING = Ambient()


def ambient() -> Ambient:
    """What surrounds a run that starts here."""
    found: Ambient = dspy.settings.get(_KEY, _NOTHING)
    return found


@contextmanager
def surrounded(**changes: Any) -> Iterator[None]:
    """Change some of it for the runs that start inside."""
    with dspy.context(**{_KEY: replace(ambient(), **changes)}):
        yield
