"""Exact match and F1 as SQuAD and HotpotQA count them: worked by hand, and laws."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasonflow.errors import InputError
from reasonflow.evals.comparison import same_words
from reasonflow.evals.qa.squad import contains, exact_match, f1, normalised

TEXTS = st.text(alphabet="aAtheén oN,.!7 -\n", max_size=24) | st.sampled_from(["yes", "No.", "noanswer", "The", "!!!"])
GOLDS = st.lists(TEXTS, min_size=1, max_size=4)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("The  Eiffel-Tower!", "eiffeltower"),
        ("An apple a day", "apple day"),
        ("theatre and Anna", "theatre and anna"),
        ("1,234.5", "12345"),
        ("  \n", ""),
    ],
)
def test_normalising(text: str, plain: str) -> None:
    assert normalised(text) == plain


@pytest.mark.parametrize(
    ("answer", "golds", "equal"),
    [
        ("the Eiffel Tower.", "Eiffel tower", True),
        ("18 January 1866", "18 January, 1866", True),
        ("January 18, 1866", "18 January 1866", False),
        ("Yes.", "yes", True),
        ("1590152", "1,590,152", True),
        ("Ada", ("Ada Lovelace", "Ada", "A. Lovelace"), True),
        ("", "Ada", False),
        # Nothing is left of these gold answers: Morse code, a band, and an article.
        ("....-", "....-", True),
        ("!!!", "....-", False),
        ("the", "an", False),
        ("", "....-", False),
    ],
)
def test_exact_match(answer: str, golds: str | tuple[str, ...], equal: bool) -> None:
    assert exact_match(answer, golds) is equal


@pytest.mark.parametrize(
    ("answer", "golds", "value"),
    [
        # 2 of 3 words right, 2 of 2 found: 2 * (2/3 * 1) / (2/3 + 1).
        ("Queen Ada Lovelace", "Ada Lovelace", 0.8),
        # A word counts as often as both have it: 1 of 3, 1 of 1.
        ("ada ada ada", "Ada", 0.5),
        ("Queen Ada Lovelace", ("Charles Babbage", "Ada Lovelace", "Ada"), 0.8),
        ("no one", "no", 0.0),
        ("yes", "yes it is", 0.0),
        ("The No.", "no", 1.0),
        ("", "Ada", 0.0),
        ("Ada", "Grace", 0.0),
    ],
)
def test_f1(answer: str, golds: str | tuple[str, ...], value: float) -> None:
    assert f1(answer, golds) == pytest.approx(value)


@pytest.mark.parametrize(
    ("answer", "golds", "held"),
    [
        ("It was Ada, the Countess of Lovelace.", "Countess of Lovelace", True),
        ("In November", "no", False),
        ("It is 1,590,152 people", "1590152", True),
        ("Lovelace Ada", "Ada Lovelace", False),
        ("Lovelace Ada", ("Ada Lovelace", "Ada"), True),
        ("the code is ....- of course", "....-", True),
    ],
)
def test_contains(answer: str, golds: str | tuple[str, ...], held: bool) -> None:
    assert contains(answer, golds) is held


@pytest.mark.parametrize("golds", ["", ()])
def test_no_gold_answer_is_an_error(golds: str | tuple[str, ...]) -> None:
    for metric in (exact_match, f1, contains):
        with pytest.raises(InputError, match="no gold answer"):
            metric("Ada", golds)


@given(answer=TEXTS, golds=GOLDS)
def test_f1_is_a_share_which_is_one_where_the_match_is_exact(answer: str, golds: list[str]) -> None:
    value = f1(answer, golds)
    assert 0 <= value <= 1
    if exact_match(answer, golds):
        assert value == 1
    if contains(answer, golds) and value == 0:
        assert {"yes", "no", "noanswer"} & {normalised(answer), *map(normalised, golds)} or "" in map(normalised, golds)


@given(answer=TEXTS, golds=GOLDS, random=st.randoms())
def test_the_order_of_the_gold_answers_says_nothing_and_more_of_them_never_lower(
    answer: str, golds: list[str], random: object
) -> None:
    shuffled = list(golds)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    for metric in (exact_match, f1, contains):
        assert metric(answer, golds) == metric(answer, shuffled)
        assert metric(answer, golds) >= metric(answer, golds[:1])


@given(answer=TEXTS, gold=TEXTS)
def test_f1_is_symmetric_where_both_have_words(answer: str, gold: str) -> None:
    if normalised(answer) and normalised(gold):
        assert f1(answer, gold) == f1(gold, answer)


@given(answer=TEXTS, gold=TEXTS.filter(bool))
def test_grading_of_words_agrees_with_exact_match(answer: str, gold: str) -> None:
    assert exact_match(answer, gold) == same_words(answer, gold)
