"""Scores: published values, and what cannot be scored."""

from __future__ import annotations

import math
from typing import Any

import dspy
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reasonflow as rf
from reasonflow.backends.protocol import TokenLogprobs
from reasonflow.errors import InputError
from reasonflow.gates.scores import Measured, Perplexity, Separability, TokenProbability, Unscored, VoteShare

FAR, NEAR = [10.0, 2.0, 1.0, 0.0], [3.0, 2.5, 1.0, 0.0]


def token(logits: list[float]) -> TokenLogprobs:
    whole = math.log(math.fsum(map(math.exp, logits)))
    top = tuple((str(place), logit - whole) for place, logit in enumerate(logits))
    return TokenLogprobs("0", top[0][1], top)


def test_separability_is_the_published_one() -> None:
    raw = Separability(k=4, slope=None)
    assert raw.of_token(FAR) == pytest.approx(11.022690, abs=1e-6)
    assert raw.of_token(NEAR) == pytest.approx(1.784434, abs=1e-6)
    score = Separability(k=4)
    assert score.of_token(FAR) == pytest.approx(0.998660, abs=1e-6)
    assert score.of([token(NEAR)]) == pytest.approx(0.744722, abs=1e-6)


@pytest.mark.parametrize("slope", [0.6, None])
def test_log_probabilities_and_their_order_change_nothing(slope: float | None) -> None:
    score = Separability(k=4, slope=slope)
    assert score.of([token(FAR)]) == pytest.approx(score.of_token(FAR), abs=1e-12)
    assert score.of_token(FAR[::-1]) == score.of_token(FAR)


@given(st.lists(st.floats(-20, 20), min_size=4, max_size=4, unique=True), st.floats(0.3, 3), st.floats(-50, 50))
def test_separability_knows_neither_temperature_nor_an_offset(logits: list[float], scale: float, offset: float) -> None:
    others = sorted(logits)[:-1]
    if max(others) - min(others) < 0.1:
        return  # the constant under the deviation counts there
    raw = Separability(k=4, slope=None)
    moved = [logit * scale + offset for logit in logits]
    assert raw.of_token(moved) == pytest.approx(raw.of_token(logits), rel=1e-3, abs=1e-3)


def test_over_the_tokens_of_an_answer() -> None:
    answer = [token(FAR), token(NEAR)]
    assert Separability(k=4).of(answer) == pytest.approx(0.744722, abs=1e-6)
    raw = Separability(k=4, slope=None)
    assert Separability(k=4, over="mean", slope=None).of(answer) == pytest.approx((11.022690 + 1.784434) / 2, abs=1e-6)
    assert Separability(k=4, over="bottom", slope=None).of(answer) == pytest.approx(raw.of_token(NEAR))
    ten = [token(FAR)] * 8 + [token(NEAR), token([4.0, 2.5, 1.0, 0.0])]
    lowest = (raw.of_token(NEAR) + raw.of_token([4.0, 2.5, 1.0, 0.0])) / 2
    assert Separability(k=4, over="bottom", slope=None).of(ten) == pytest.approx(lowest)


def test_the_form_of_the_paper_counts_the_first_among_the_others() -> None:
    mean, deviation = 3.25, math.sqrt(sum((x - 3.25) ** 2 for x in FAR) / 4)
    paper = Separability(k=4, competitors=False, slope=None)
    assert paper.of_token(FAR) == pytest.approx((10 - mean) / deviation, abs=1e-5)


def test_tokens_beyond_k_do_not_count() -> None:
    assert Separability(k=3).of_token([*FAR[:3], -1000.0]) == Separability(k=3).of_token(FAR[:3])


def test_probability_and_perplexity_are_inverse() -> None:
    answer = [TokenLogprobs("a", math.log(0.5)), TokenLogprobs("b", math.log(0.125))]
    assert TokenProbability().of(answer) == pytest.approx(0.25)
    assert Perplexity().of(answer) == pytest.approx(4.0)
    assert (TokenProbability().higher, Perplexity().higher) == (True, False)


def test_the_share_of_a_vote_counts_samples_without_an_answer() -> None:
    assert VoteShare().of(["7", "7", "8", None]) == 0.5


def test_a_function_is_a_score() -> None:
    longest = Measured("length", fn=len, higher=False)
    assert (longest.of("abc"), longest.higher, longest.logprobs) == (3.0, False, 0)
    assert Measured("yes").of(0.8) == 0.8


@pytest.mark.parametrize(
    ("score", "value", "why"),
    [
        (Separability(k=4), [], "no log-probabilities"),
        (Separability(k=5), [token(FAR)], "4 log-probabilities a token, and k is 5"),
        (Separability(k=4), [token(FAR), TokenLogprobs("x", -1.0)], "0 log-probabilities"),
        (Perplexity(), [], "no log-probabilities"),
        (TokenProbability(), [], "no log-probabilities"),
        (VoteShare(), [], "no sample"),
        (VoteShare(), [None, None], "no sample"),
    ],
)
def test_what_cannot_be_scored_says_why(score: Any, value: Any, why: str) -> None:
    with pytest.raises(Unscored, match=why):
        score.of(value)


def test_hidden_competitors_are_no_score() -> None:
    hidden = TokenLogprobs("a", 0.0, (("a", 0.0), ("b", -math.inf), ("c", -math.inf), ("d", -math.inf)))
    with pytest.raises(Unscored, match="not finite"):
        Separability(k=4).of([hidden])


@pytest.mark.parametrize("logits", [[800.0, 1.0, 0.0], [5.0, 5.0, 5.0], [1e6, 0.0, 0.0]])
def test_no_logits_overflow(logits: list[float]) -> None:
    assert 0 <= Separability(k=3).of_token(logits) <= 1


def test_settings_tell_scores_apart() -> None:
    scores = [Separability(), Separability(k=20), Separability(over="mean"), Separability(slope=None), Perplexity()]
    assert len({str(score.settings) for score in scores}) == 5
    assert Separability().settings == Separability(k=64, over="min").settings


def test_k_that_leaves_nothing_to_compare_is_refused() -> None:
    with pytest.raises(InputError, match="k of 3 or more"):
        Separability(k=2)


def test_a_score_is_of_what_a_record_in_a_plan_has() -> None:
    class Sure(rf.Program):
        def __init__(self, k: int | None) -> None:
            self.solve = rf.Generate("problem -> answer", style="text", config={"logprobs": k} if k else None)

        def plan(self, problem: Any) -> Any:
            found = self.solve(problem=problem)
            return {"sure": rf.call(TokenProbability().of, found.logprobs), "found": found}

    lm = rf.scripted({"Yes": 0.8, "No": 0.15}, top_logprobs=20)
    with dspy.context(lm=lm):
        assert Sure(1)(problem="?").sure == pytest.approx(
            0.8
        )  # the end of the turn, which is certain, counts for nothing
        with pytest.raises(Unscored, match="there are no log-probabilities"):
            Sure(None)(problem="?")


@pytest.mark.engine
def test_an_engine_gives_the_tokens_of_the_answer(embedded_lm: dspy.LM) -> None:
    class Told(rf.Program):
        def __init__(self) -> None:
            self.solve = rf.Generate("problem -> answer", config={"logprobs": 20, "temperature": 0.0, "max_tokens": 40})

        def plan(self, problem: Any) -> Any:
            found = self.solve(problem=problem)
            return {
                "tokens": found.logprobs,
                "text": found.text,
                "score": rf.call(Separability(k=20).of, found.logprobs),
            }

    with dspy.context(lm=embedded_lm):
        out = Told()(problem="There are 4 red cups. There are 3 more blue cups than red cups. How many blue cups?")
    assert "".join(token.token for token in out.tokens).strip().endswith(out.text.strip())
    assert all(len(token.top) == 20 for token in out.tokens)
    assert 0.5 < out.score < 1
