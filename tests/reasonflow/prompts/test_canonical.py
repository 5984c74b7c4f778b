import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasonflow.prompts.canonical import canonical


@pytest.mark.parametrize(
    "spellings",
    [
        (
            "5",
            " 5 ",
            "5.",
            "+5",
            "5.0",
            "005",
            "$5$",
            "\\(5\\)",
            "\\$5.00",
            "x = 5",
            "\\text{5}",
            "**5**",
            "5\\%",
            "5^\\circ",
        ),
        ("-3", "-3.00", "−3", "$-3$"),
        ("1234", "1,234", "1{,}234", "1,234.0"),
        ("\\frac{1}{2}", "\\frac12", "\\dfrac{1}{2}", "\\tfrac 1 2", "1/2"),
        ("-\\frac{3}{4}", "-3/4", "-\\dfrac{3}{4}"),
        ("Paris", "paris", "\\text{Paris}", "PARIS."),
        ("no solution", "No  Solution."),
        ("(C)", "C", "\\text{(C)}"),
        ("3x+5", "3 x + 5", "$3x + 5$"),
        ("(1,2)", "(1, 2)", "\\left(1, 2\\right)"),
        ("0", "-0", "0.0", "00"),
        ("0.5", ".5", "0.50"),
    ],
)
def test_spellings_of_one_answer_are_one_key(spellings: tuple[str, ...]) -> None:
    assert {canonical(spelling) for spelling in spellings} == {canonical(spellings[0])}


@pytest.mark.parametrize(
    ("one", "other"), [("5", "-5"), ("12", "1.2"), ("1,2", "12"), ("x", "y"), ("1/2", "2/1"), ("10", "1")]
)
def test_different_answers_stay_apart(one: str, other: str) -> None:
    assert canonical(one) != canonical(other)


@given(st.integers(-(10**12), 10**12))
def test_every_usual_spelling_of_a_whole_number_is_the_number(number: int) -> None:
    assert {canonical(s) for s in (f"{number}", f"{number:,}", f"{number}.0", f"${number}$")} == {str(number)}


@given(st.text(max_size=40))
def test_a_key_is_its_own_key(text: str) -> None:
    assert canonical(canonical(text)) == canonical(text)


def test_a_long_answer_costs_nothing() -> None:
    assert canonical(" " + "{" * 1_000_000) == "{" * 1_000_000
