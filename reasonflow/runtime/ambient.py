"""What surrounds a run without being one of its arguments: the budget it draws on, who watches, what is recorded.

It travels in DSPy's own context, so that it reaches the threads of `dspy.Evaluate` and `dspy.Parallel`, and programs
that are called from inside functions of other programs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import dspy

from reasonflow.runtime.events import Watch
from reasonflow.runtime.journal import Journal

if TYPE_CHECKING:
    from reasonflow.runtime.aside import Asking
    from reasonflow.runtime.ledger import Ledger

_KEY = "reasonflow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ambient:
    """Each run takes a snapshot of it when it is launched."""

    ledger: Ledger | None = None
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
