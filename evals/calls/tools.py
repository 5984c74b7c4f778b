"""Which tools a task takes, as an answer: sets of names, with precision and recall."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

from reasonflow.evals.calls.structure import Malformed, read_list

Tool: TypeAlias = tuple[str, str]
"""A tool, and which of its interfaces."""


class Chosen(NamedTuple):
    """How the chosen tools meet the relevant ones."""

    both: int
    chosen: int
    relevant: int
    reason: str
    """Why they are not the same; empty where they are."""

    @property
    def equal(self) -> bool:
        return self.both == self.chosen == self.relevant

    @property
    def precision(self) -> float:
        """0 where nothing was chosen."""
        return self.both / self.chosen if self.chosen else 0.0

    @property
    def recall(self) -> float:
        return self.both / self.relevant

    @property
    def f1(self) -> float:
        return 2 * self.both / (self.chosen + self.relevant)


def choose(text: str, relevant: Sequence[Sequence[str]]) -> Chosen:
    """The tools of a model's text beside the relevant ones, of which there is one at least. Never raises.

    Each of a JSON list is `{"tool": ..., "api": ...}` or `[tool, api]`. Case and spacing say nothing; one that is named
    twice counts once.
    """
    wanted = {_tool(pair) for pair in relevant}
    try:
        found = {_tool(entry) for entry in read_list(text)}
    except Malformed as malformed:
        return Chosen(0, 0, len(wanted), str(malformed))
    both = len(found & wanted)
    reason = "" if found == wanted else f"{both} of {len(wanted)} relevant tools among {len(found)}"
    return Chosen(both, len(found), len(wanted), reason)


def _tool(entry: Any) -> Tool:
    names = [entry.get("tool"), entry.get("api")] if isinstance(entry, dict) else entry
    if isinstance(names, (list, tuple)) and len(names) == 2 and all(isinstance(name, str) for name in names):
        tool, api = (" ".join(name.split()).casefold() for name in names)
        return tool, api
    raise Malformed(f"no tool: {repr(entry)[:80]}")
