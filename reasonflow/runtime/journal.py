"""What an earlier session of the same work has recorded: finished model calls that need not be made again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Protocol

from reasonflow.backends.protocol import Completion, TokenLogprobs, ToolCall

_FIELDS = tuple(field.name for field in fields(Completion))


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


def to_row(completion: Completion) -> dict[str, Any]:
    """A completion in JSON's types."""
    # Not `asdict`: it copies every token id, and the engine's loop waits for this.
    return {name: getattr(completion, name) for name in _FIELDS}


def from_row(row: Mapping[str, Any]) -> Completion:
    """What `to_row` was given, read from JSON; fields of a later version are left out.

    Raises KeyError, TypeError or ValueError for what is no completion.
    """
    found: dict[str, Any] = {name: value for name, value in row.items() if name in _FIELDS}
    return Completion(
        **{
            **found,
            "tokens": tuple(found.get("tokens", ())),
            "logprobs": tuple(
                TokenLogprobs(token, logprob, tuple((other, value) for other, value in top))
                for token, logprob, top in found.get("logprobs", ())
            ),
            "tool_calls": tuple(ToolCall(*call) for call in found.get("tool_calls", ())),
        }
    )
