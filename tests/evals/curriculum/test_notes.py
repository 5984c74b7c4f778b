"""Notes are where knowledge ends, within their limit, and read back as what they were."""

from __future__ import annotations

from random import Random

import pytest

from reasonflow.evals.curriculum.notes import LONGEST, listed, notes, read_notes
from reasonflow.evals.curriculum.tally import agreed, settled, tally
from reasonflow.evals.tasks import tokens
from reasonflow.evals.tasks.graph import Graph, Quantity
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
def test_notes_keep_their_limit_and_read_back_with_their_counts(mix: str) -> None:
    random = Random(mix)
    for index in range(40):
        found = problem(mix, index)
        drafts = drafts_of(found, random, 1 + index % 8)
        text = notes(graph_of(found), drafts)
        counted = tally(drafts)
        assert tokens.count(text) <= LONGEST
        assert text or not counted
        read = read_notes(text)
        assert len(read) == len(text.split("\n")) if text else not read
        assert read == {name: counted[name][:3] for name in read}


@pytest.mark.parametrize("mix", GRAPHS)
def test_listed_is_how_far_each_part_came(mix: str) -> None:
    random = Random(mix)
    for index in range(40):
        found = problem(mix, index)
        graph, drafts = graph_of(found), drafts_of(found, random, 4)
        counted = tally(drafts)
        shown = listed(graph, counted, 4)
        assert len(set(shown)) == len(shown)
        for part in graph.parts():
            stated = [quantity.name for quantity in part if quantity.name in counted]
            sure = [name for name in stated if settled(counted[name], 4) is not None]
            assert {name for name in stated if name in shown} == {*stated[-1:], *sure[-1:]}
        assert (graph.asked in shown) == agreed(counted.get(graph.asked, ()), 4)
        for join in {quantity.name for quantity in graph.joins} - {graph.asked}:
            assert (join in shown) == (settled(counted.get(join, ()), 4) is not None)


def test_the_ends_of_parts_and_the_answer_are_noted() -> None:
    assert notes(GRAPH, [RIGHT, RIGHT, RIGHT]) == "new cups = 5 x3\nold hats = 5 x3\nbig bowls = 10 x3"


def test_a_contested_value_is_noted_with_what_is_settled_before_it() -> None:
    slip = RIGHT.replace("3 + 2 = 5", "3 + 2 = 6").replace("5 + 5 = 10", "6 + 5 = 11")
    text = notes(GRAPH, [slip, RIGHT, RIGHT, slip])
    assert text.split("\n") == [
        "red jars = 3 x4",
        "new cups = 6 x2, 5 x2",
        "old hats = 5 x4",
    ]


def test_entries_stand_in_the_order_of_the_drafts() -> None:
    assert notes(GRAPH, ["old hats = 5\nred jars = 3", "red jars = 3"]) == "old hats = 5 x1\nred jars = 3 x2"


def test_at_most_three_values_are_noted() -> None:
    text = notes(GRAPH, [f"red jars = {value}" for value in (1, 2, 3, 4, 4)])
    assert text == "red jars = 4 x2, 1 x1, 2 x1"


def test_what_belongs_to_no_part_is_noted_only_where_there_is_nothing_else() -> None:
    assert notes(GRAPH, ["pink bells = 8"]) == "pink bells = 8 x1"
    assert notes(GRAPH, ["pink bells = 8\nred jars = 3"]) == "red jars = 3 x1"


def test_names_of_no_quantity_are_ignored() -> None:
    assert notes(GRAPH, ["blue moons = 4", None, ""]) == ""


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
    text = "Notes:\n- the Red Jars = 3 x2, 4\nnew cups = 5\nold hats = many x3\nbig bowls = 1 x1, 2 x4.\nred = -2 x1"
    assert read_notes(text) == {
        "red jars": ((3, 2), (4, 1)),
        "new cups": ((5, 1),),
        "big bowls": ((2, 4), (1, 1)),
        "red": ((-2, 1),),
    }
