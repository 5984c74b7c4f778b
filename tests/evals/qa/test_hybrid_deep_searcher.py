"""The answer metrics of HybridDeepSearcher's own script, worked by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasonflow.evals.qa.hybrid_deep_searcher import contains, exact_match, f1, gold_text

TEXTS = st.text(alphabet="aB {}'\\:,.\n", max_size=24)


@pytest.mark.parametrize(
    ("answer", "gold", "value"),
    [
        # Articles and punctuation count: 1 of 3 tokens, 1 of 2 found.
        ("the Eiffel tower.", "Eiffel Tower", 0.4),
        ("Eiffel  TOWER", "eiffel tower", 1.0),
        ("", "Eiffel", 0.0),
        ("no one", "no", 2 / 3),
    ],
)
def test_tokens_are_what_stands_between_spaces(answer: str, gold: str, value: float) -> None:
    assert f1(answer, gold) == pytest.approx(value)


def test_the_gold_answer_of_fanoutqa_is_the_spelling_of_an_object() -> None:
    gold = gold_text({"Avatar": "James Cameron", "Rank": 1, "Hit": True})
    assert gold == "{'Avatar': 'James Cameron', 'Rank': 1, 'Hit': True}"
    # avatar james cameron rank 1 hit true: seven tokens, of which three are among the answer's four.
    answer = "Avatar was James Cameron"
    assert f1(answer, gold, fanout=True) == pytest.approx(2 * 3 / (4 + 7))
    # With their signs `{'avatar':`, `'james` and `cameron',` are other tokens.
    assert f1(answer, gold) == 0


def test_latex_is_taken_out_of_fanoutqa_only_and_text_stays_as_in_the_script() -> None:
    answer = "\\begin{aligned} \\text{Avatar}: & James \\\\ \\end{aligned}"
    # textavatar and james are left.
    assert f1(answer, "textAvatar James", fanout=True) == 1
    assert f1(answer, "Avatar James", fanout=True) == 0.5
    assert f1(answer, "textAvatar James") == pytest.approx(2 / (6 + 2))


def test_containment_is_of_letters_and_match_of_the_whole() -> None:
    assert contains("in November", "NO")
    assert not contains("Ada  Lovelace", "Ada B. Lovelace")
    assert contains("to Ada \n Lovelace", "ada lovelace")
    assert exact_match(" ADA\nLovelace", "ada lovelace")
    assert not exact_match("the Ada", "Ada")


@given(answer=TEXTS, gold=TEXTS.filter(str.strip), fanout=st.booleans())
def test_f1_is_a_share_and_one_for_what_matches(answer: str, gold: str, fanout: bool) -> None:
    assert 0 <= f1(answer, gold, fanout=fanout) <= 1
    assert f1(answer, gold, fanout=fanout) == f1(gold, answer, fanout=fanout)
    if exact_match(answer, gold):
        assert f1(answer, gold) == 1
        assert contains(answer, gold)
