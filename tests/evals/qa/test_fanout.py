"""Loose and strict accuracy of FanOutQA: worked by hand, and laws."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasonflow.errors import InputError
from reasonflow.evals.qa.fanout import find, gold_strings, loose, normalised, strict

WORDS = st.text(alphabet="abC1 ", min_size=1, max_size=6).filter(str.strip)
VALUES = WORDS | st.booleans() | st.integers(0, 10**7)
ANSWERS = VALUES | st.lists(VALUES, min_size=1, max_size=4) | st.dictionaries(WORDS, VALUES, min_size=1, max_size=4)


@pytest.mark.parametrize(
    ("gold", "strings"),
    [
        ({"Avatar": "Cameron", "Rank": 2}, ["Avatar", "Rank", "Cameron", "2"]),
        ([2006, 2012, 2006], ["2006", "2012", "2006"]),
        (True, ["yes"]),
        ({"Alain Prost": False}, ["Alain Prost", "no"]),
        ({"Asia": ["Macau", 1.5]}, ["Asia", "Macau", "1.5"]),
        (0, ["0"]),
        ({}, []),
    ],
)
def test_the_strings_of_a_gold_answer(gold: Any, strings: list[str]) -> None:
    assert gold_strings(gold) == strings


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Revenge of the Sith: $868.4 million!", "revenge of the sith $8684 million"),
        ("1,590,152 or 1,234.5", "1590152 or 12345"),
        ("Chang\u2019e \u201cone\u201d", 'chang\'e "one"'),
        ("Stellan Skarsga\u030ard", "stellan skarsgård"),
    ],
)
def test_normalising(text: str, plain: str) -> None:
    assert normalised(text) == plain


@pytest.mark.parametrize(
    ("answer", "gold", "share"),
    [
        ("Avatar by James Cameron; Titanic", {"Avatar": "James Cameron", "Titanic": "J. Doe"}, 3 / 4),
        ("Macau has 680,000 people.", {"Macau": 680000}, 1.0),
        ("It made $1.027 billion", "$1.027 billion", 1.0),
        ("Prost: No", {"Prost": False}, 1.0),
        ("Prost in November", {"Prost": False}, 1 / 2),
        ("In 2006 and 2012", [2006, 2012, 2006, 1995], 3 / 4),
        ("16", 6, 0.0),
        ("", "Ada", 0.0),
        # Words are not lemmatised here.
        ("square kilometer", "square kilometers", 0.0),
    ],
)
def test_the_share_of_strings_found(answer: str, gold: Any, share: float) -> None:
    assert loose(answer, gold) == pytest.approx(share)
    assert strict(answer, gold) is (share == 1)


def test_what_is_missing_is_named() -> None:
    assert find("Avatar", {"Avatar": "James Cameron", "Titanic": True}).missing == ("titanic", "james cameron", "yes")


def test_another_normalisation_may_be_handed_in() -> None:
    def lemmas(text: str) -> str:
        return normalised(text).replace("kilometers", "kilometer")

    assert strict("75 square kilometer", "square kilometers", lemmas)


def test_a_string_of_signs_is_not_found_everywhere() -> None:
    assert loose("anything", ["!", "anything"]) == 0.5


@pytest.mark.parametrize("gold", [{}, [], [[]]])
def test_a_gold_answer_without_strings_is_an_error(gold: Any) -> None:
    with pytest.raises(InputError, match="holds nothing to find"):
        find("Ada", gold)


@given(answer=st.text(alphabet="abC1 ,.", max_size=30), gold=ANSWERS)
def test_loose_is_a_share_and_strict_means_all_of_it(answer: str, gold: Any) -> None:
    assert 0 <= loose(answer, gold) <= 1
    assert strict(answer, gold) == (loose(answer, gold) == 1)


@given(gold=ANSWERS, more=st.text(alphabet="abC1 ", max_size=10))
def test_an_answer_that_says_every_string_is_right_whatever_it_adds(gold: Any, more: str) -> None:
    assert strict("; ".join([*gold_strings(gold), more]), gold)
