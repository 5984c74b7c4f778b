"""What a corpus says about the items of houses: sentences, and how they are read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from random import Random
from typing import NamedTuple

from reasonflow.evals.tasks.chance import pick
from reasonflow.evals.tasks.lookups import Lookup

STATED = (
    "In house {house} there are {value} {name}.",
    "There are {value} {name} in house {house}.",
    "The {name} of house {house} are {value}.",
)
NAMED = (
    "In house {house} there are as many {name} as {other} in house {there}.",
    "There are as many {name} in house {house} as {other} in house {there}.",
    "The {name} of house {house} are as many as the {other} of house {there}.",
)
"""Another house has the number."""
_GROUPS = {"house": r"\d+", "there": r"\d+", "value": r"\d+", "name": "[a-z]+ [a-z]+", "other": "[a-z]+ [a-z]+"}


class Fact(NamedTuple):
    """What a sentence says of an item in a house."""

    name: str
    house: int
    gives: int | tuple[str, int]
    """The number, or an item and a house that has as many of it."""


def sentence(lookup: Lookup, random: Random) -> str:
    """The fact in words."""
    words = {"name": lookup.name, "house": lookup.house}
    if lookup.next is None:
        return pick(random, STATED).format(**words, value=lookup.value)
    return pick(random, NAMED).format(**words, other=lookup.next.name, there=lookup.next.house)


def read_facts(text: str) -> Iterator[Fact]:
    """Every fact that a text says, in order. Other sentences are passed over."""
    matches = (match for pattern in _PATTERNS for match in pattern.finditer(text))
    for match in sorted(matches, key=lambda match: match.start()):
        found = match.groupdict()
        gives = int(found["value"]) if "value" in found else (found["other"], int(found["there"]))
        yield Fact(found["name"], int(found["house"]), gives)


_PATTERNS = tuple(
    re.compile(re.sub(r"\\?\{(\w+)\\?\}", lambda found: f"(?P<{found[1]}>{_GROUPS[found[1]]})", re.escape(template)))
    for template in (*STATED, *NAMED)
)
