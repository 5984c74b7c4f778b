"""Voting quantity by quantity: what it takes from whom, and where it has no answer."""

from __future__ import annotations

from random import Random

import pytest

from reasonflow.evals.suites.part_vote import part_vote, plurality
from reasonflow.evals.tasks.graph import Graph
from reasonflow.evals.tasks.problems import item, parse_source

ITEM = item(parse_source("graphmath:breadth"), 0)
assert isinstance(ITEM.content, Graph)
GRAPH = ITEM.content
RIGHT = ITEM.solution(Random(0))


def with_value(text: str, name: str, value: int) -> str:
    """The solution with another value in that quantity's line."""
    lines = [f"{name} = {value}" if line.startswith(f"{name} = ") else line for line in text.split("\n")]
    return "\n".join(lines)


def test_drafts_that_are_wrong_in_different_parts_make_a_right_answer() -> None:
    ends = [part[-1] for part in GRAPH.parts()[:3]]
    drafts = [with_value(RIGHT, end.name, end.value + 1) for end in ends]
    drafts = [with_value(draft, GRAPH.asked, GRAPH.answer + 1) for draft in drafts]
    assert part_vote(GRAPH, drafts) == GRAPH.answer


def test_an_error_that_most_make_is_kept() -> None:
    end = GRAPH.parts()[0][-1]
    wrong = with_value(RIGHT, end.name, end.value + 1)
    assert part_vote(GRAPH, [wrong, wrong, RIGHT]) not in (None, GRAPH.answer)


def test_a_quantity_that_nobody_states_leaves_no_answer() -> None:
    end = GRAPH.parts()[0][-1].name
    without = "\n".join(line for line in RIGHT.split("\n") if not line.startswith(f"{end} = "))
    assert part_vote(GRAPH, [without, without]) is None
    assert part_vote(GRAPH, []) is None
    assert part_vote(GRAPH, [without, RIGHT]) == GRAPH.answer


def test_the_answer_of_one_part_is_its_plurality() -> None:
    alone = item(parse_source("graphmath:direct,width=1,depth=3"), 0)
    assert isinstance(alone.content, Graph)
    name, value = alone.content.asked, alone.answer
    assert part_vote(alone.content, [f"{name} = {value + 1}", f"{name} = {value}", f"{name} = {value}"]) == value


@pytest.mark.parametrize(
    ("texts", "value"),
    [
        (["old cups = 3", "old cups = 4", "old cups = 4"], 4),
        (["old cups = 3", "old cups = 4"], 3),
        (["old cups = 3\nold cups = 5", "old cups = 5", "old cups = 3"], 5),
    ],
)
def test_each_text_has_one_voice_and_the_first_wins_a_tie(texts: list[str], value: int) -> None:
    assert plurality(texts) == {"old cups": value}
