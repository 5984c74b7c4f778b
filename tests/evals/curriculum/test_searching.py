"""The words of a model that searches: turn by turn from notes alone, and notes from pages."""

from __future__ import annotations

import pytest

from reasonflow.evals.curriculum.searching import UNKNOWN, askings, condensed, note_in, note_of, reading, turn
from reasonflow.evals.tasks.lookups import Lookup
from reasonflow.programs.query_blocks import BEGIN, END, read_block
from reasonflow.programs.search_machine import NOTHING

CUPS = Lookup("red cups", 4821, 386, Lookup("silver dolls", 50917, 386))
FORKS = Lookup("thin forks", 770123, 41)
DOLLS = "red cups = silver dolls house 50917"


def test_a_first_turn_asks_for_all_that_is_missing_or_for_the_first() -> None:
    assert turn((CUPS, FORKS), {}, "x", sequential=False) == (
        f"<think>red cups, thin forks\n</think>\n{BEGIN}\nred cups house 4821;\nthin forks house 770123\n{END}"
    )
    assert turn((CUPS, FORKS), {}, "x", sequential=True) == (
        f"<think>red cups\n</think>\n{BEGIN}\nred cups house 4821\n{END}"
    )


@pytest.mark.parametrize("sequential", [False, True])
def test_a_note_that_names_another_house_is_followed_at_once(sequential: bool) -> None:
    notes = {"red cups house 4821": DOLLS, "thin forks house 770123": "thin forks = 41"}
    if sequential:
        del notes["thin forks house 770123"]
    assert turn((CUPS, FORKS), notes, "x", sequential=sequential) == (
        f"red cups = silver dolls\n</think>\n{BEGIN}\nsilver dolls house 50917\n{END}"
    )


def test_what_gave_nothing_is_asked_in_other_words() -> None:
    notes = {"red cups house 4821": NOTHING, "thin forks house 770123": NOTHING}
    queries = read_block(turn((CUPS, FORKS), notes, "x", sequential=False)).queries
    assert queries == ("red cups in house 4821", "thin forks in house 770123")
    assert queries[0] in askings("red cups", 4821)
    again = {
        "red cups in house 4821": DOLLS,
        "silver dolls house 50917": "silver dolls = 386",
        "thin forks in house 770123": "thin forks = 41",
    }
    assert turn((CUPS, FORKS), notes | again, "x", sequential=False) == (
        "red cups = silver dolls = 386, thin forks = 41\n</think>\nx"
    )


def test_what_gave_nothing_in_any_words_is_given_up() -> None:
    nothing = dict.fromkeys(askings("red cups", 4821), NOTHING)
    two = dict(list(nothing.items())[:-1])
    assert read_block(turn((CUPS, FORKS), two, "x", sequential=True)).queries == ("red cups of house 4821",)
    assert turn((CUPS, FORKS), nothing, "x", sequential=False) == f"red cups unknown\n</think>\n{UNKNOWN}"
    behind = {"red cups house 4821": DOLLS, **dict.fromkeys(askings("silver dolls", 50917), NOTHING)}
    assert turn((CUPS,), behind, "x", sequential=True) == f"red cups = silver dolls unknown\n</think>\n{UNKNOWN}"


def test_values_are_those_of_the_notes_not_of_the_problem() -> None:
    assert "thin forks = 7\n" in turn((FORKS,), {"thin forks house 770123": "thin forks = 7"}, "x", sequential=False)


def test_where_nothing_is_missing_it_is_solved_at_once() -> None:
    assert turn((), {}, "x", sequential=False) == "x"


PAGES = (
    "Page 1: house 4822\nIn house 4822 there are 7 red cups. The blue cups of house 4822 are 3.\n\n"
    "Page 2: house 4821\nThere are 12 red plums in house 4821. "
    "The red cups of house 4821 are as many as the silver dolls of house 50917.\n\n"
    "Page 3: house 12\nIn house 12 there are as many old pies as thin forks in house 770123."
)


@pytest.mark.parametrize(
    ("asked", "note"),
    [
        ("red cups house 4821", DOLLS),
        ("red cups in house 4821", DOLLS),
        ("red plums house 4821", "red plums = 12"),
        ("blue cups house 4821", NOTHING),
        ("thin forks house 770123", NOTHING),
        ("silver dolls house 50917", NOTHING),
        ("How many cups?", NOTHING),
    ],
)
def test_a_note_says_what_the_fact_says_and_nothing_else(asked: str, note: str) -> None:
    assert note_in(PAGES, asked) == note
    assert condensed(note) == f"**Final Information**\n{note}"


def test_notes_of_facts_are_those_of_pages_that_hold_them() -> None:
    assert note_of(CUPS) == DOLLS
    assert note_of(FORKS) == "thin forks = 41"


BEFORE = "Page 1: house 4822\nPage 2: house 4821"


@pytest.mark.parametrize(
    ("asked", "read"),
    [
        ("red plums house 4821", f"{BEFORE}\nThere are 12 red plums in house 4821.\nred plums fit"),
        (
            "red cups in house 4821",
            f"{BEFORE}\nThere are 12 red plums in house 4821.\nred plums differ\n"
            "The red cups of house 4821 are as many as the silver dolls of house 50917.\nred cups fit",
        ),
        (
            "blue cups house 4822",
            "Page 1: house 4822\nIn house 4822 there are 7 red cups.\nred cups differ\n"
            "The blue cups of house 4822 are 3.\nblue cups fit",
        ),
        (
            "old plums house 12",
            f"{BEFORE}\nPage 3: house 12\n"
            "In house 12 there are as many old pies as thin forks in house 770123.\nold pies differ",
        ),
        ("How many cups?", f"{BEFORE}\nPage 3: house 12"),
    ],
)
def test_a_reading_holds_each_sentence_of_the_house_against_the_query_and_ends_with_the_fact(
    asked: str, read: str
) -> None:
    assert reading(PAGES, asked) == f"{read}\n{condensed(note_in(PAGES, asked))}"
