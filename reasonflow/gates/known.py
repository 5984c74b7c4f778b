"""The scores that an artifact can make again, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reasonflow.errors import InputError
from reasonflow.gates.confidence import GroupConfidence
from reasonflow.gates.scores import Perplexity, Score, Separability, TokenProbability, VoteShare

KNOWN: dict[str, Callable[..., Score]] = {
    made.__name__: made for made in (Separability, TokenProbability, Perplexity, VoteShare, GroupConfidence)
}
"""By name: what an artifact can make again."""


def described(settings: dict[str, Any]) -> Score:
    """The score of these settings. Raises InputError for one that is a function of somebody's own."""
    name, arguments = settings.get("score"), {key: value for key, value in settings.items() if key != "score"}
    if name not in KNOWN:
        raise InputError(
            f"the score {name!r} cannot be made again",
            why="it is a function: an artifact holds none",
            fix="make the gate inside the program's __init__",
        )
    return KNOWN[name](**arguments)
