"""Self-consistency out of one matrix: what it spends, and what it scores with a given number of tokens."""

from __future__ import annotations

import pytest

from reasonflow.evals.at_k.matrix import matrix_of
from reasonflow.evals.at_k.vote_curve import VoteCurve
from reasonflow.evals.samples import Sample


def sample(problem: str, index: int, answer: str | None, tokens: int | None) -> Sample:
    return Sample(
        id=problem,
        sample=index,
        seed=0,
        answer=answer,
        expected="4",
        correct=answer == "4",
        total_tokens=tokens,
        sequential_tokens=tokens,
    )


def curve(*rows: list[tuple[str | None, int | None]]) -> VoteCurve:
    drawn = [sample(f"p{p}", s, answer, tokens) for p, row in enumerate(rows) for s, (answer, tokens) in enumerate(row)]
    return VoteCurve(matrix_of(drawn))


TWO = curve([("4", 10), ("4", 20), ("3", 60)], [("4", 100), ("2", 100), ("2", 100)])


def test_a_vote_costs_its_samples_and_lasts_as_long_as_the_longest() -> None:
    assert TWO.most == 3
    assert [TWO.at(n).total_tokens for n in (1, 2, 3)] == pytest.approx([65, 130, 195])
    # Of pairs of 10, 20, 60 the longest is 20 once and 60 twice.
    assert TWO.at(2).sequential_tokens == pytest.approx(((20 + 60 + 60) / 3 + 100) / 2)
    assert TWO.at(3).sequential_tokens == 80


def test_a_vote_scores_maj_at_n() -> None:
    assert TWO.at(1).values == pytest.approx((2 / 3, 1 / 3))
    assert TWO.at(3).values == (1.0, 0.0)


def test_tokens_between_two_points_mix_them() -> None:
    found = TWO.matching("total", 162.5)
    assert found is not None
    assert (found.samples, found.total_tokens, found.short) == (2.5, 162.5, False)
    assert found.values == pytest.approx(((2 / 3 + 1) / 2, (1 / 3 + 0) / 2))


def test_tokens_outside_the_curve_are_said_to_be_outside() -> None:
    assert TWO.matching("total", 64) is None
    beyond = TWO.matching("total", 1000)
    assert beyond is not None
    assert (beyond.samples, beyond.total_tokens, beyond.short) == (3, 195, True)


def test_samples_without_tokens_match_nothing() -> None:
    unknown = curve([("4", None), ("3", None)])
    assert unknown.at(2).values == (0.5,)
    assert unknown.at(2).total_tokens is None
    assert unknown.matching("total", 1000) is None


def test_a_failed_sample_has_no_vote_and_no_tokens() -> None:
    failed = curve([("4", 10), (None, None)])
    assert failed.at(2).values == (1.0,)
    assert failed.at(2).total_tokens == 20
    assert failed.at(2).sequential_tokens == 10
