"""Values and types survive JSON."""

from __future__ import annotations

import enum
import json
from typing import Any, Literal

import dspy
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reasonflow as rf
from reasonflow.errors import InputError
from reasonflow.language.choices import Choice
from reasonflow.language.typed_json import Restorer, describe, describe_type


class Mood(enum.Enum):
    """A type that is named by its path."""

    CALM = "calm"


def refuse(described: Any, where: str) -> Any:
    raise AssertionError("no program was described")


restore = Restorer({"Mood": Mood}.__getitem__, refuse, refuse, refuse)
found = Restorer(lambda path: {Mood.__qualname__: Mood}[path.partition(":")[2]], refuse, refuse, refuse)

plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
keys = st.text() | st.integers() | st.tuples(st.integers(), st.text())
values = st.recursive(
    plain,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(keys, inner),
    max_leaves=12,
)


def through_json(described: Any) -> Any:
    return json.loads(json.dumps(described, allow_nan=False))


@given(values)
def test_values_come_back_as_they_were(value: Any) -> None:
    back = restore.value(through_json(describe(value, "it")), "it")
    assert back == value
    assert repr(back) == repr(value)  # tuples are no lists, 1 is not True


@pytest.mark.parametrize(
    "annotation",
    [
        str, int, None, Any, list, list[str], dict[str, list[int]], tuple[int, ...], tuple[str, int], set[float],
        int | None, list[str] | None, Literal["a", 2, None], list[Literal["x"] | Mood], Mood, dspy.Image,
    ],
)  # fmt: skip
def test_types_come_back_as_they_were(annotation: Any) -> None:
    assert found.annotation(through_json(describe_type(annotation, "it")), "it") == annotation


def test_budgets_and_choices() -> None:
    budget = rf.Budget(calls=3, seconds=1.5)
    assert restore.value(through_json(describe(budget, "it")), "it") == budget
    choice = restore.value(through_json(describe(Choice((4, 2), options=[(4, 2), (8,)]), "it")), "it")
    assert choice.value == (4, 2)
    assert choice.options == [(4, 2), (8,)]
    assert choice.only
    loose = restore.value(through_json(describe(Choice(4, options=[4, 8], only=False), "it")), "it")
    loose.set(5)
    assert loose == 5


@pytest.mark.parametrize(
    "described",
    [{"$tuple": 1}, {"$dict": [1]}, {"$float": "x"}, {"$type": "complex"}, {"$opaque": "lock"}, {"$choice": {}},
     {"$type": {"union": []}}, {"$type": {"dspy": "LM"}}, {"$signature": {"fields": [{}]}}, {"$budget": {"calls": 0}},
     {"$type": {"literal": 1}}, {"$type": {"list": "str"}}],
)  # fmt: skip
def test_what_nobody_wrote_is_refused(described: Any) -> None:
    with pytest.raises(InputError):
        restore.value(described, "it")
