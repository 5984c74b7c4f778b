"""Calls beside gold calls: what is equal, what is not and why, and text that holds no calls."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasonflow.evals.calls.structure import match, read_calls

PLAY = [{"play": {"artist": ["Ada Brin", "A. Brin"], "minutes": [20], "shuffle": ["", False]}}]
TWO = [
    {"play": {"artist": ["Ada Brin", "Corm"], "minutes": [20]}},
    {"play": {"artist": ["Ada Brin"], "minutes": [20, 15]}},
]


def said(*calls: Any) -> str:
    return json.dumps(list(calls))


def play(**arguments: Any) -> dict[str, Any]:
    return {"name": "play", "arguments": arguments}


@pytest.mark.parametrize(
    "text",
    [
        said(play(artist="Ada Brin", minutes=20)),
        said({"play": {"artist": "a.brin", "minutes": 20.0, "shuffle": False}}),
        said(play(artist="ADA-BRIN", minutes=20))[1:-1],
        f"```json\n{said(play(artist='Ada Brin', minutes=20))}\n```",
        said({"name": "play", "arguments": '{"artist": "Ada Brin", "minutes": 20}'}),
    ],
)
def test_one_call_in_its_ways_of_writing(text: str) -> None:
    assert match(text, PLAY) == (1, 1, 1, "")


@pytest.mark.parametrize(
    ("call", "why"),
    [
        ({"play": {"artist": "Ada", "minutes": 20}}, "artist of play is 'Ada'"),
        (play(artist="Ada Brin", minutes="20"), "minutes of play is '20'"),
        (play(artist="Ada Brin", minutes=True), "minutes of play is True"),
        (play(artist="Ada Brin", minutes=20, shuffle=0), "shuffle of play is 0"),
        (play(artist=["Ada Brin"], minutes=20), "artist of play is ['Ada Brin']"),
        (play(artist="Ada Brin"), "play lacks minutes"),
        (play(artist="Ada Brin", minutes=20, loud=True), "play takes no argument 'loud'"),
        ({"name": "stop", "arguments": {}}, "'stop' is called instead of play"),
        ({"name": "stop"}, "'stop' is called instead of play"),
    ],
)
def test_what_is_not_equal_is_told(call: Any, why: str) -> None:
    assert match(said(call), PLAY) == (0, 1, 1, why)


def test_calls_stand_in_any_order_and_each_answers_one() -> None:
    """The first call would do for both: it has to leave the second gold call to the other one."""
    ada, corm = play(artist="Ada Brin", minutes=20), play(artist="Corm", minutes=20)
    for order in ((ada, corm), (corm, ada)):
        assert match(said(*order), TWO).equal
    once = match(said(corm, corm), TWO)
    assert (once.equal, once.matched, once.f1) == (False, 1, 0.5)
    assert once.reason == "artist of play is 'Corm'"
    assert match(said(ada), TWO) == (1, 1, 2, "1 calls instead of 2")
    assert match(said(ada, corm, ada), TWO) == (2, 3, 2, "3 calls instead of 2")


@pytest.mark.parametrize(
    ("value", "accepted", "equal"),
    [
        ([3, 5.0], [[3, 5]], True),
        ([5, 3], [[3, 5]], False),
        ([3], [[3, 5]], False),
        (["Red Fox"], [["red-fox"], ["hen"]], True),
        ({"min": 3, "max": 5}, [{"min": [3], "max": [5, 6]}], True),
        ({"min": 3}, [{"min": [3], "max": [5, ""]}], True),
        ({"min": 3}, [{"min": [3], "max": [5]}], False),
        ({"min": 3, "most": 5}, [{"min": [3]}], False),
        ([{"field": "Age"}], [[{"field": ["age"]}]], True),
        (None, [None, "none"], True),
        (0, [None, False], False),
        (True, [1], False),
        ("it's", ['it"s'], True),
        (float("nan"), [1], False),
    ],
)
def test_values_are_equal_by_their_kind(value: Any, accepted: list[Any], equal: bool) -> None:
    assert match(json.dumps([{"f": {"x": value}}]), [{"f": {"x": accepted}}]).equal == equal


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no JSON"),
        ("play(artist='Ada')", "no JSON"),
        ("3", "no JSON list: 3"),
        ('["play"]', "no call: 'play'"),
        ('[{"name": "play", "arguments": [1]}]', "the arguments of 'play' are no object"),
        ('[{"name": "play", "arguments": "{"}]', "no JSON"),
        ('[{"name": "play", "arguments": {}, "more": 1}]', "no call: "),
        ('[{"play": {}, "stop": {}}]', "no call: "),
        ("[" * 5_000, "more than 100 brackets"),
        ("9" * 9_000, "no JSON"),
    ],
)
def test_text_without_calls_is_told_and_never_raises(text: str, why: str) -> None:
    found = match(text, PLAY)
    assert (found.equal, found.matched, found.given, found.wanted) == (False, 0, 0, 1)
    assert found.reason.startswith(why)
    assert len(found.reason) < 200


def test_no_call_where_none_is_wanted() -> None:
    assert match("[]", []) == (0, 0, 0, "")
    assert match("[]", []).f1 == 1.0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)


@given(JSON | st.text().map(lambda text: "{" + text))
def test_any_json_is_read_or_refused(value: Any) -> None:
    match(json.dumps(value), TWO)
    match(str(value), PLAY)


@given(st.lists(st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=3), max_size=3), max_size=4))
def test_calls_equal_themselves(arguments: list[dict[str, Any]]) -> None:
    calls = [{"name": f"f{place % 2}", "arguments": each} for place, each in enumerate(arguments)]
    golds = [{call["name"]: {name: [value] for name, value in call["arguments"].items()}} for call in calls]
    assert match(json.dumps(calls[::-1]), golds).equal
    assert [call.name for call in read_calls(json.dumps(calls))] == [call["name"] for call in calls]
