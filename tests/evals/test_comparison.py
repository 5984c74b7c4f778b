"""Comparison without algebra: plain numbers, words, countdown expressions, hostile input."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasonflow.evals.comparison import countdown, decide, number, same_words


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("-1,234.50", Fraction("-1234.5")),
        ("$18", 18),
        ("\\$18.00", 18),
        ("7 apples", 7),
        ("12 \\text{ cm}", 12),
        ("+3", 3),
        (".5", Fraction(1, 2)),
        ("1,2", None),
        ("5x", None),
        ("5 x", None),
        ("1/2", None),
        ("", None),
        ("apples", None),
        ("2^{10}", None),
        ("9" * 1000, None),
    ],
)
def test_plain_numbers(text: str, value: Fraction | None) -> None:
    assert number(text) == value


@pytest.mark.parametrize(
    ("answer", "expected", "verdict"),
    [
        ("5", "5.0", True),
        ("5", "6", False),
        ("5 apples", "5", True),
        ("x = 5", "5", True),
        ("0.333333", "0.3333333", None),
        ("\\frac{1}{2}", "0.5", None),
        ("x+1", "1+x", None),
        ("seat", "\\text{east}", False),
        ("East.", "\\text{east}", True),
        ("the men's track team", "The men's track team", True),
        ("Ms. Hilt", "Mrs. Hilt", False),
        ("5", "Evelyn", False),
        ("\\pi", "\\pi", True),
    ],
)
def test_what_is_plain_is_decided_and_the_rest_is_left_to_algebra(
    answer: str, expected: str, verdict: bool | None
) -> None:
    assert decide(answer, expected) is verdict


@given(st.integers(-(10**9), 10**9), st.integers(-(10**9), 10**9))
def test_whole_numbers_are_equal_exactly_when_they_are(left: int, right: int) -> None:
    assert decide(f"{left:,}", str(right)) is (left == right)


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_text_breaks_it(answer: str, expected: str) -> None:
    assert decide(answer, expected) in (True, False, None)
    assert decide(answer, answer) in (True, None)


def test_words_of_nothing_but_articles_are_not_all_equal() -> None:
    assert same_words("The", "the")
    assert not same_words("a", "the")
    assert same_words("  Barack   Obama!", "barack obama")


@pytest.mark.parametrize(
    ("answer", "correct", "reason"),
    [
        ("(3 + 4) * 5", True, ""),
        ("5 \\times (3+4) = 35", True, ""),
        ("$(4+3)·5$", True, ""),
        ("\\frac{5}{1}", False, "uses"),
        ("3 * 4 * 5", False, "makes 60"),
        ("35", False, "uses [35]"),
        ("(3 + 4) * 5 + 5 - 5", False, "uses"),
        ("5 / (3 - 3)", False, "divides by zero"),
        ("3 ** 4 ** 5", False, "not an expression"),
        ("__import__('os').system('true')", False, "not an expression"),
        ("3 + 4) * 5", False, "not an expression"),
        ("", False, "not an expression"),
        ("(" * 400 + "3" + ")" * 90, False, "not an expression"),
        ("-" * 499 + "3", False, ""),
        ("1+" * 5000 + "1", False, "longer than"),
        ("3\x004", False, "not an expression"),
    ],
)
def test_countdown(answer: str, correct: bool, reason: str) -> None:
    found, why = countdown(answer, [3, 4, 5], 35)
    assert found is correct
    assert reason in why


def test_countdown_divides_exactly() -> None:
    assert countdown("(1 / 3) * 3 * 1", [1, 3, 3, 1], 1) == (True, "")
    assert countdown("\\frac{6}{4} \\times 2", [6, 4, 2], 3) == (True, "")
