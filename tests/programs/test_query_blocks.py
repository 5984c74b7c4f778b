"""Query blocks, by the released parser's rules."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reasonflow.programs.query_blocks import BEGIN, END, MARKS, RESULTS, abridged, alone, in_thought, read_block


def block(inside: str) -> str:
    return f"Let me see.\n{BEGIN}{inside}{END}"


@pytest.mark.parametrize(
    ("inside", "queries"),
    [
        ("\nwho wrote it;\nwhere was it printed\n", ("who wrote it", "where was it printed")),
        ("\none;\n\ntwo;\nthree;\n", ("one", "two", "three")),
        ("one; two;three", ("one", "two", "three")),
        ("\none; two\nthree", ("one; two", "three")),
        ("\n;\n  a query ; \n", ("a query",)),
        ("\nthe same\nthe same\n", ("the same", "the same")),
    ],
)
def test_lines_are_queries_and_a_single_line_is_divided(inside: str, queries: tuple[str, ...]) -> None:
    found = read_block(block(inside))
    assert (found.queries, found.fault) == (queries, "")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (block("\na\n") + block("\nb\n"), "2 query blocks begin"),
        (f"{BEGIN}\na\n", "is not closed"),
        (f"a\n{END}", "has not begun"),
        (f"a {END} {BEGIN} b {END}", "has not begun"),
        (block("\n \n"), "is empty"),
        (block(";;"), "is empty"),
    ],
)
def test_what_is_malformed_asks_for_nothing_and_says_why(text: str, words: str) -> None:
    found = read_block(text)
    assert found.queries == ()
    assert words in found.fault


def test_a_text_without_a_block_asks_for_nothing() -> None:
    found = read_block("The answer is \\boxed{4}.")
    assert (found.queries, found.fault) == ((), "")


@settings(deadline=None)
@given(st.lists(st.sampled_from([*MARKS, "a", "\n", ";", " ", "\\boxed{1}"]), max_size=30))
def test_no_text_makes_it_raise_and_no_block_is_passed_over_without_a_word(pieces: list[str]) -> None:
    text = "".join(pieces)
    found = read_block(text)
    assert all(query and query == query.strip() for query in found.queries)
    if BEGIN in text or END in text:
        assert bool(found.queries) != bool(found.fault)
    else:
        assert (found.queries, found.fault) == ((), "")


def test_few_lines_of_reasoning_stay_as_they_are() -> None:
    assert abridged("a\n\nb") == "Step 1: a\n\nStep 2: b"


def test_of_many_lines_the_ends_and_those_with_marks_stay() -> None:
    lines = [f"line {number}" for number in range(1, 13)]
    lines[4] = RESULTS
    kept = abridged("\n".join(lines)).split("\n\n")
    assert kept == [
        "Step 1: line 1", "...", f"Step 5: {RESULTS}", "...",
        "Step 9: line 9", "Step 10: line 10", "Step 11: line 11", "Step 12: line 12",
    ]  # fmt: skip


def test_a_query_by_itself_stands_in_a_block_of_its_own() -> None:
    old = f"first\n{BEGIN}\nw;\nx\n{END}\n{RESULTS}\nw: 1"
    lines = f"{old}\nthought\n{BEGIN}\na;\nb;\nc;\nd;\ne\n{END}"
    assert alone(lines, "b") == f"{old}\nthought\n{BEGIN}\nb\n{END}"
    assert [name for name in "abcdewxyz" if f": {name}" in abridged(lines)] == ["c", "d", "e"]
    assert [name for name in "abcdewxyz" if f": {name}" in abridged(alone(lines, "b"))] == ["b"]


def test_a_thought_is_open_until_it_ends() -> None:
    assert in_thought("<think> so")
    assert not in_thought("<think> so </think>")
    assert in_thought("<think> so </think> x <think>")
    assert not in_thought("no thought at all")
