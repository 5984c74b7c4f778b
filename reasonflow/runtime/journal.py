"""What an earlier session of the same work has recorded: finished model calls that need not be made again."""

from __future__ import annotations

from typing import Protocol

from reasonflow.backends.protocol import Completion


class Journal(Protocol):
    """Finished samples by key. A run asks before it sends, and tells as each sample ends.

    A key names the branch, the attempt and the number of the sample, and holds a digest of the prompt and the sampling
    settings: a program that has changed finds nothing under it. Called on the runtime's thread, from one run at a time
    per key; both verbs must be quick.
    """

    def find(self, key: str) -> Completion | None:
        """The completion recorded under this key; None where there is none."""
        ...

    def keep(self, key: str, completion: Completion) -> None:
        """Record a sample that has ended by itself, or by its gate (its finish reason says so).

        On return it survives the end of this process.
        """
        ...
