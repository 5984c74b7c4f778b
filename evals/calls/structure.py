"""Function calls compared with gold calls by structure, as the Berkeley Function-Calling Leaderboard compares them.

A gold call is `{"name": {"argument": [accepted values]}}`. An argument whose accepted values hold "" may be left out.
Strings are equal but for case, spaces and the signs `,./-_*^`; numbers as numbers; lists value by value, in order; an
object has a list of accepted values under each key. Calls may come in any order, and each answers one gold call.
Source: Patil et al. 2025, the leaderboard's evaluation by abstract syntax tree, and its published checker.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

_FENCE = re.compile(r"\A```[a-z]*\s*\n(?P<inside>.*)\n\s*```\Z", re.DOTALL | re.IGNORECASE)
_SAYS_NOTHING = re.compile(r"[ ,./\-_*^]")
_SHOWN = 80
"""Characters of a model's own text in a reason."""


_DEEPEST = 100
"""Brackets inside each other: far from where Python's stack ends."""


class Malformed(ValueError):
    """What is no list of calls, with why."""


@dataclass(frozen=True, slots=True)
class Call:
    """One function call."""

    name: str
    arguments: Mapping[str, Any]


class Match(NamedTuple):
    """How calls meet gold calls."""

    matched: int
    """Most calls that answer a gold call each."""
    given: int
    wanted: int
    reason: str
    """Why they are not equal; empty where they are."""

    @property
    def equal(self) -> bool:
        return self.matched == self.given == self.wanted

    @property
    def f1(self) -> float:
        """Of single calls, 0 to 1; two empty lists are equal."""
        return 2 * self.matched / (self.given + self.wanted) if self.given + self.wanted else 1.0


def match(text: str, golds: Sequence[Mapping[str, Any]]) -> Match:
    """The calls of a model's text beside gold calls. Text that holds none meets none, with the reason; never raises."""
    try:
        calls = read_calls(text)
    except Malformed as malformed:
        return Match(0, 0, len(golds), str(malformed))
    wanted = [call for gold in golds for call in _gold(gold)]
    pairs = _matching([[not difference(call, gold) for gold in wanted] for call in calls], len(wanted))
    return Match(len(pairs), len(calls), len(wanted), _reason(calls, wanted, pairs))


def read_calls(text: str) -> list[Call]:
    """The calls of a JSON list, or of one JSON object; a code fence around it is left out. Raises Malformed.

    A call is `{"name": "f", "arguments": {...}}` or `{"f": {...}}`; the arguments of the first may be JSON in a string.
    """
    return [_call(entry) for entry in read_list(text)]


def read_list(text: str) -> list[Any]:
    """The values of a JSON list, or of a single object. Raises Malformed."""
    text = text.strip()
    fenced = _FENCE.match(text)
    value = _json(fenced["inside"] if fenced else text)
    if isinstance(value, dict):
        return [value]
    if not isinstance(value, list):
        raise Malformed(f"no JSON list: {_short(value)}")
    return value


def difference(call: Call, gold: Call) -> str:
    """The first thing in which a call is not what is wanted; empty where it is."""
    if call.name != gold.name:
        return f"{_short(call.name)} is called instead of {gold.name}"
    for name, value in call.arguments.items():
        if name not in gold.arguments:
            return f"{gold.name} takes no argument {_short(name)}"
        if not _accepted(value, gold.arguments[name]):
            return f"{name} of {gold.name} is {_short(value)}"
    missing = [name for name, accepted in gold.arguments.items() if name not in call.arguments and "" not in accepted]
    return f"{gold.name} lacks {missing[0]}" if missing else ""


def _accepted(value: Any, accepted: Sequence[Any]) -> bool:
    return any(_equal(value, each) for each in accepted)


def _equal(value: Any, gold: Any) -> bool:
    if isinstance(gold, dict):
        return isinstance(value, dict) and _equal_objects(value, gold)
    if isinstance(gold, list):
        return (
            isinstance(value, list)
            and len(value) == len(gold)
            and all(_equal(each, wanted) for each, wanted in zip(value, gold, strict=True))
        )
    if isinstance(gold, str):
        return isinstance(value, str) and normalised(value) == normalised(gold)
    if isinstance(gold, bool) or gold is None:  # a bool is an int in Python, and no number here
        return value is gold
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == gold


def _equal_objects(value: Mapping[str, Any], gold: Mapping[str, Any]) -> bool:
    if not value.keys() <= gold.keys():
        return False
    choices = {name: each if isinstance(each, list) else [each] for name, each in gold.items()}
    return all(
        _accepted(value[name], accepted) if name in value else "" in accepted for name, accepted in choices.items()
    )


def normalised(text: str) -> str:
    """In lower case, without what says nothing, and with one kind of quotes."""
    return _SAYS_NOTHING.sub("", text).lower().replace("'", '"')


def _json(text: str) -> Any:
    deep = most = 0
    for sign in text:
        deep += (sign in "[{") - (sign in "]}")
        most = max(most, deep)
    if most > _DEEPEST:
        raise Malformed(f"more than {_DEEPEST} brackets inside each other")
    try:
        return json.loads(text)
    except ValueError as error:  # a number of ten thousand digits is one, too
        raise Malformed(f"no JSON: {error}"[:_SHOWN]) from error


def _call(entry: Any) -> Call:
    if not isinstance(entry, dict):
        raise Malformed(f"no call: {_short(entry)}")
    if isinstance(entry.get("name"), str) and entry.keys() <= {"name", "arguments"}:
        name, arguments = entry["name"], entry.get("arguments", {})
        if isinstance(arguments, str):
            arguments = _json(arguments)
    elif len(entry) == 1:
        ((name, arguments),) = entry.items()
    else:
        raise Malformed(f"no call: {_short(entry)}")
    if not isinstance(arguments, dict):
        raise Malformed(f"the arguments of {_short(name)} are no object")
    return Call(name, arguments)


def _gold(gold: Mapping[str, Any]) -> list[Call]:
    return [Call(name, arguments) for name, arguments in gold.items()]


def _matching(fits: Sequence[Sequence[bool]], golds: int) -> dict[int, int]:
    """Most pairs of a call and a gold call that fit, as the call of each gold one: by augmenting paths.

    The leaderboard takes the first that fits, which may leave a later call without its own.
    """
    taken: dict[int, int] = {}

    def place(call: int, tried: set[int]) -> bool:
        for gold in range(golds):
            if fits[call][gold] and gold not in tried:
                tried.add(gold)
                if gold not in taken or place(taken[gold], tried):
                    taken[gold] = call
                    return True
        return False

    for call in range(len(fits)):
        place(call, set())
    return taken


def _reason(calls: Sequence[Call], wanted: Sequence[Call], pairs: Mapping[int, int]) -> str:
    if len(calls) != len(wanted):
        return f"{len(calls)} calls instead of {len(wanted)}"
    left = [call for number, call in enumerate(calls) if number not in pairs.values()]
    for number, gold in enumerate(wanted):
        if number not in pairs:
            nearest = next((call for call in left if call.name == gold.name), left[0])
            return difference(nearest, gold)
    return ""


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
