"""Counting what drafts state."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasonflow.evals.curriculum.mistakes import cut, mistaken
from reasonflow.evals.curriculum.tally import established, settled, stated, tally
from reasonflow.evals.tasks.reading import statements
from tests.evals.curriculum.draft_makers import GRAPHS, problem


def test_values_are_counted_and_the_most_frequent_stands_first() -> None:
    drafts = ["red jars = 1 + 1 = 2\nnew cups = 7", "red jars = 3", None, "", "red jars = 1 + 2 = 3\nnew cups = 8 = 8"]
    assert tally(drafts) == {"red jars": ((3, 2), (2, 1)), "new cups": ((7, 1), (8, 1))}


def test_of_a_draft_the_last_statement_counts() -> None:
    assert tally(["red jars = 2\nred jars = 3", "red jars = 2"]) == {"red jars": ((3, 1), (2, 1))}


@pytest.mark.parametrize(
    ("counts", "value"),
    [
        ((), None),
        (((5, 1),), None),
        (((5, 2),), 5),
        (((5, 2), (6, 1)), None),
        (((5, 3), (6, 1)), 5),
        (((5, 4), (6, 2)), None),
        (((5, 5), (6, 1), (7, 1)), 5),
        (((5, 5), (6, 2), (7, 2)), None),
    ],
)
def test_drafts_settle_on_what_more_than_two_thirds_of_them_state(
    counts: tuple[tuple[int, int], ...], value: int | None
) -> None:
    assert settled(counts, 2) == value


def test_an_answer_is_established_by_more_than_half_and_a_single_draft_establishes_all() -> None:
    drafts = ["red jars = 3\nnew cups = 7\nold hats = 8", *2 * ["red jars = 3\nold hats = 8"], *2 * ["red jars = 4"]]
    assert established(drafts, "big bowls") == {"old hats": 8}
    assert established(drafts, "red jars") == {"old hats": 8, "red jars": 3}
    assert established(drafts, "new cups") == {"old hats": 8}
    assert established([None, drafts[0], None], "new cups") == {"red jars": 3, "new cups": 7, "old hats": 8}
    assert established(drafts[1:], "red jars") == {"old hats": 8}
    assert established([], "red jars") == {}


@pytest.mark.parametrize("mix", [*GRAPHS, "constraints", "threads"])
def test_texts_are_read_as_the_graders_read_them(mix: str) -> None:
    random = Random(mix)
    for index in range(20):
        text = mistaken(problem(mix, index).content, random, 2)
        for draft in (text, cut(text, 40), cut(text, 57), f"So:\n- the {text}\n<Thread>1: {text}</Thread>"):
            assert stated(draft) == {statement.name: statement.value for statement in statements(draft)}


PIECES = st.sampled_from(
    (
        "red",
        "The",
        "the",
        "JARS",
        " ",
        "  ",
        " = ",
        "=",
        "12",
        "-3",
        " + ",
        "*",
        "\n",
        "<Thread>",
        "</a>",
        "1:",
        "- ",
        ".",
    )
)


@given(st.lists(PIECES, max_size=20).map("".join))
def test_any_text_is_read_as_the_graders_read_it(text: str) -> None:
    assert stated(text) == {statement.name: statement.value for statement in statements(text)}
