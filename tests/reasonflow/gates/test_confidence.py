"""Group confidence: values worked by hand, and that pieces make no difference."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reasonflow as rf
from reasonflow.backends.protocol import TokenLogprobs
from reasonflow.errors import InputError
from reasonflow.gates.confidence import GroupConfidence, percentile_of, token_confidence
from reasonflow.gates.known import described
from reasonflow.gates.scores import Unscored


def token(*logprobs: float) -> TokenLogprobs:
    return TokenLogprobs("a", logprobs[0], tuple((str(place), found) for place, found in enumerate(logprobs)))


TEXT = [token(-1.0, -3.0), token(-0.5, -1.5), token(-2.0, -6.0), token(-1.0, -2.0)]
"""Confidences 2, 1, 4, 1.5."""


def test_the_confidence_of_a_token_is_minus_the_mean_of_the_likeliest() -> None:
    assert token_confidence(token(-0.5, -1.0, -6.0), 3) == pytest.approx(2.5)
    assert token_confidence(token(-0.5, -1.0, -6.0), 2) == pytest.approx(0.75)
    assert token_confidence(token(-0.5, -1.0), 20) == pytest.approx(0.75), "an engine that reports fewer"
    assert token_confidence(token(-1.0, -math.inf), 20) == pytest.approx(50.5), "one that a grammar ruled out"


@pytest.mark.parametrize(("window", "lowest"), [(1, 1.0), (2, 1.5), (3, 13 / 6), (4, 2.125), (5, 2.125), (2048, 2.125)])
def test_the_lowest_group_of_a_text_counts_and_a_short_text_is_one_group(window: int, lowest: float) -> None:
    assert GroupConfidence(k=2, window=window).of(TEXT) == pytest.approx(lowest)


def test_a_prefix_is_judged_once_a_window_is_whole() -> None:
    prefix, seen = GroupConfidence(k=2, window=2).begin(), []
    for each in TEXT:
        prefix.feed([each])
        seen.append((prefix.current, prefix.lowest))
    assert seen == [(None, None), (1.5, 1.5), (2.5, 1.5), (2.75, 1.5)]


logprobs = st.lists(st.floats(-30, 0), min_size=1, max_size=5)


@given(st.lists(logprobs, min_size=1, max_size=30), st.integers(1, 12), st.data())
def test_fed_in_pieces_it_is_what_it_is_of_the_whole(rows: list[list[float]], window: int, data: Any) -> None:
    text = [token(*row) for row in rows]
    score, at = GroupConfidence(k=3, window=window), 0
    prefix = score.begin()
    while at < len(text):
        end = at + data.draw(st.integers(1, len(text) - at))
        prefix.feed(text[at:end])
        at = end
    assert prefix.score == score.of(text)
    each = [token_confidence(one, 3) for one in text]
    groups = [each[end - window : end] for end in range(window, len(each) + 1)] or [each]
    assert prefix.score == pytest.approx(min(math.fsum(group) / len(group) for group in groups), abs=1e-9)
    assert prefix.lowest == (prefix.score if len(text) >= window else None)


@pytest.mark.parametrize("value", [[], [TokenLogprobs("a", -1.0)]])
def test_what_has_no_log_probabilities_is_not_scored(value: Any) -> None:
    with pytest.raises(Unscored):
        GroupConfidence().of(value)
    assert not rf.Gate(GroupConfidence(), 0.0).decide(value).accepted


def test_a_gate_takes_it_and_an_artifact_makes_it_again() -> None:
    score = GroupConfidence(k=2, window=2)
    assert [rf.Gate(score, threshold).decide(TEXT).accepted for threshold in (1.4, 1.6)] == [True, False]
    assert described(score.settings) == score


@pytest.mark.parametrize("options", [{"k": 0}, {"window": 0}, {"window": 2.5}, {"k": True}])
def test_what_is_no_size_is_refused(options: Any) -> None:
    with pytest.raises(InputError, match="of a group confidence"):
        GroupConfidence(**options)


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=20), st.floats(0, 100))
def test_percentiles_are_numpys(scores: list[float], percent: float) -> None:
    assert percentile_of(scores, percent) == pytest.approx(np.percentile(scores, percent), abs=1e-9)


@pytest.mark.parametrize(("scores", "percent"), [([], 50), ([1.0], 101), ([1.0], -1)])
def test_a_percentile_of_nothing_is_refused(scores: list[float], percent: float) -> None:
    with pytest.raises(InputError, match="percentile"):
        percentile_of(scores, percent)
