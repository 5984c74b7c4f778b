"""Notes are the way back from the answer to what is established, within their limit, and read back as that."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

import pytest

from reasonflow.evals.curriculum.notes import LONGEST, notes, read_notes
from reasonflow.evals.curriculum.refined import refined
from reasonflow.evals.curriculum.sought import steps
from reasonflow.evals.curriculum.tally import established
from reasonflow.evals.tasks import tokens
from reasonflow.evals.tasks.graph import Graph, Quantity
from reasonflow.evals.tasks.solutions import expression
from tests.evals.curriculum.draft_makers import GRAPHS, drafts_of, graph_of, problem

#           jars 3 -> cups 5 -> bowls 10
# and besides: hats 4 -> bowls
GRAPH = Graph(
    (
        Quantity("red jars", "", (3,), 3, 0),
        Quantity("new cups", "+", ("red jars", 2), 5, 0),
        Quantity("old hats", "", (5,), 5, 1),
        Quantity("big bowls", "+", ("new cups", "old hats"), 10, None),
        Quantity("pink bells", "", (8,), 8, None, False),
    ),
    "big bowls",
)
RIGHT = "red jars = 3 = 3\nnew cups = 3 + 2 = 5\nold hats = 5 = 5\nbig bowls = 5 + 5 = 10\n\\boxed{10}"


@pytest.mark.parametrize("mix", GRAPHS)
def test_notes_keep_their_limit_and_read_back_as_what_is_established(mix: str) -> None:
    random = Random(mix)
    for index in range(40):
        found = problem(mix, index)
        graph, drafts = graph_of(found), drafts_of(found, random, 2 + index % 7)
        known = established(drafts, graph.asked)
        text = notes(graph, drafts)
        assert 0 < tokens.count(text) <= LONGEST
        whole = notes(graph, drafts, longest=10_000)
        assert whole.startswith(text)
        assert read_notes(whole) == {name: known[name] for name in steps(graph, known) if name in known}


@pytest.mark.parametrize("mix", GRAPHS)
def test_behind_each_contested_name_stands_what_it_is_made_of(mix: str) -> None:
    random = Random(mix)
    for index in range(40):
        found = problem(mix, index)
        graph, drafts = graph_of(found), drafts_of(found, random, 4)
        known = established(drafts, graph.asked)
        lines = notes(graph, drafts, longest=10_000).split("\n")
        check_way_back(graph, graph.asked, known, lines)
        assert not lines


def check_way_back(graph: Graph, name: str, known: Mapping[str, int], lines: list[str]) -> None:
    """That lines begin with all that the name takes, which is taken off."""
    shown, *rest = lines.pop(0).split(" = ")
    assert shown == name
    if len(rest) == 1:
        assert rest[0].partition(" x")[0] == str(known[name])
        return
    (quantity,) = (quantity for quantity in graph.quantities if quantity.name == name)
    assert rest[0] == expression(quantity)
    for operand in quantity.operands:
        if isinstance(operand, str):
            check_way_back(graph, operand, known, lines)


def test_the_answer_alone_is_noted_where_most_drafts_agree_on_it() -> None:
    assert notes(GRAPH, [RIGHT, RIGHT, "old hats = 4"]) == "big bowls = 10 x2"


def test_a_contested_answer_is_noted_with_what_it_is_made_of() -> None:
    slip = RIGHT.replace("3 + 2 = 5", "3 + 2 = 6").replace("5 + 5 = 10", "6 + 5 = 11")
    assert notes(GRAPH, [slip, RIGHT, RIGHT, slip]).split("\n") == [
        "big bowls = new cups + old hats = 11 x2",
        "new cups = red jars + 2 = 6 x2",
        "red jars = 3 x4",
        "old hats = 5 x4",
    ]


def test_what_no_draft_states_is_noted_as_unknown() -> None:
    text = notes(GRAPH, ["old hats = 5\nred jars = 3", "red jars = 3"])
    assert text.split("\n") == [
        "big bowls = new cups + old hats = ?",
        "new cups = red jars + 2 = ?",
        "red jars = 3 x2",
        "old hats = 5 = 5 x1",
    ]
    assert read_notes(text) == {"red jars": 3}
    assert notes(GRAPH, ["blue moons = 4", None, ""]).split("\n")[2:] == ["red jars = 3 = ?", "old hats = 5 = ?"]


def test_of_values_the_most_frequent_is_noted() -> None:
    text = notes(GRAPH, [f"red jars = {value}\nold hats = {value // 4}" for value in (1, 2, 3, 4, 4)])
    assert text.split("\n")[2:] == ["red jars = 3 = 4 x2", "old hats = 5 = 0 x3"]
    text = notes(GRAPH, [f"old hats = {value}" for value in (1, 2, 2, 2, 2)])
    assert text.endswith("\nold hats = 2 x4")


def test_what_two_quantities_are_made_of_stands_behind_both() -> None:
    shared = Quantity("big bowls", "+", ("new cups", "red jars"), 8, None)
    graph = Graph((*GRAPH.quantities[:2], shared), "big bowls")
    text = notes(graph, ["red jars = 3", "red jars = 3"])
    assert text.split("\n")[2:] == ["red jars = 3 x2", "red jars = 3 x2"]
    assert refined(graph, read_notes(text)) == "red jars = 3\nnew cups = 3 + 2 = 5\nbig bowls = 5 + 3 = 8\n\\boxed{8}"


def test_what_does_not_fit_is_left_out_from_the_end() -> None:
    slip = RIGHT.replace("3 + 2 = 5", "3 + 2 = 6")
    whole = notes(GRAPH, [slip, RIGHT])
    parts = whole.split("\n")
    for longest in range(tokens.count(whole) + 1):
        kept = notes(GRAPH, [slip, RIGHT], longest=longest)
        assert tokens.count(kept) <= longest
        assert kept.split("\n") == parts[: len(kept.split("\n"))] or not kept
    assert notes(GRAPH, [slip, RIGHT], longest=1, count=lambda text: text.count("\n")) == "\n".join(parts[:2])


def test_notes_of_other_hands_are_read_as_far_as_they_can_be() -> None:
    text = (
        "Notes:\n- the Red Jars = 3 x2\nnew cups = 5.\nold hats = many x3\nbig bowls = new cups + 2 = 7 x2\nhats = 7 x1"
    )
    assert read_notes(text) == {"red jars": 3, "new cups": 5, "hats": 7}
