import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasonflow.prompts.answers import NO_ANSWER, extract_answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("So it is \\boxed{5}.", "5"),
        ("first \\boxed{1}, then \\boxed{2}", "2"),
        ("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("\\boxed{\\{1, 2\\}}", "\\{1, 2\\}"),
        ("\\fbox{7}", "7"),
        ("\\boxed {8}", "8"),
        ("\\boxed{x = \\boxed{3}}", "3"),
        ("\\boxed{4}, to be put within \\boxed{}.", "4"),
        ("\\boxed{9} and a cut \\boxed{1", "9"),
        ("a stray } and { before \\boxed{6}", "6"),
    ],
)
def test_a_complete_box_is_taken_without_repair(text: str, answer: str) -> None:
    extracted = extract_answer(text)
    assert (extracted.answer, extracted.repair) == (answer, None)


@pytest.mark.parametrize(
    ("text", "answer", "repair"),
    [
        ("\\boxed 5", "5", "without braces"),
        ("boxed{5}", "5", "backslash"),
        ("so \\boxed{42", "42", "never closes"),
        ("so \\boxed{42\nand then nothing", "42", "never closes"),
        ("The answer is 42.", "42", "answer"),
        ("The answer is 42 apples.", "42", "answer"),
        ("The final answer is: $\\frac{1}{2}$.", "\\frac{1}{2}", "answer"),
        ("**Answer:** Paris", "Paris", "answer"),
        ("The answer is 3.5", "3.5", "answer"),
        ("thus 3 + 4 = 7", "7", "="),
        ("I have 3 apples and then $1,234.50 left.", "1,234.50", "last number"),
        ("It is -3 degrees", "-3", "last number"),
    ],
)
def test_anything_else_is_a_named_repair(text: str, answer: str, repair: str) -> None:
    extracted = extract_answer(text)
    assert extracted.answer == answer
    assert extracted.repair is not None
    assert repair in extracted.repair


@pytest.mark.parametrize("text", ["", "   ", "no idea", "\\boxed{}", "\\boxed{ }"])
def test_a_text_without_an_answer_says_so(text: str) -> None:
    assert extract_answer(text) == (None, text.strip(), NO_ANSWER)


def test_reasoning_leaves_out_a_last_line_that_is_only_the_box() -> None:
    assert extract_answer("One and one.\n\n$$\\boxed{2}$$").reasoning == "One and one."
    assert extract_answer("One and one is \\boxed{2}.").reasoning == "One and one is \\boxed{2}."


_PIECES = [
    "\\boxed{",
    "\\boxed ",
    "\\fbox{",
    "boxed{",
    "{",
    "}",
    "\\{",
    "\\}",
    "answer is ",
    "= ",
    "5",
    "\n",
    " ",
    "x.",
]


@given(st.one_of(st.text(), st.lists(st.sampled_from(_PIECES)).map("".join)))
def test_no_text_makes_it_raise_and_an_answer_comes_from_the_text(text: str) -> None:
    extracted = extract_answer(text)
    if extracted.answer is None:
        assert extracted.repair == NO_ANSWER
    else:
        assert extracted.answer
        assert extracted.answer.replace("$", "") in text.replace("$", "")  # numbers lose their currency sign


@pytest.mark.parametrize(
    "unit", ["{", "}", "\\boxed{", "\\boxed{1}", "\\boxed ", "answer is ", "1,", "=", "-", "$", "a "]
)
def test_time_is_linear_in_the_text(unit: str) -> None:
    text = unit * (1_000_000 // len(unit))
    started_s = time.perf_counter()
    extract_answer(text)
    assert time.perf_counter() - started_s < 5  # quadratic time would take hours
