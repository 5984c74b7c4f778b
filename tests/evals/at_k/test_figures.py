"""Figures of a sample matrix: what they are of, and what is said about their intervals."""

from __future__ import annotations

import pytest

from reasonflow.errors import InputError
from reasonflow.evals.at_k import majority
from reasonflow.evals.at_k.figures import at_k
from reasonflow.evals.at_k.matrix import FIGURES, SampleMatrix, matrix_of
from reasonflow.evals.samples import Sample


def sample(problem: str, index: int, answer: str | None, *, right: str = "4") -> Sample:
    return Sample(id=problem, sample=index, seed=0, answer=answer, expected=right, correct=answer == right)


def matrix(**answers: list[str | None]) -> SampleMatrix:
    return matrix_of(sample(id, index, answer) for id, row in answers.items() for index, answer in enumerate(row))


FOUR = matrix(easy=["4", "4.0", "4", "4"], hard=["3", "4", "5", None])


def test_all_figures_come_from_one_matrix() -> None:
    scores = {sample.key: float(sample.correct) for row in FOUR.rows.values() for sample in row}
    scored = SampleMatrix(FOUR.rows, scores)
    found = {figure: at_k(scored, figure, 2).found.value for figure in FIGURES}
    # 4.0 is wrong in these samples: three of four are right in `easy`, one in `hard`.
    assert found["mean"] == pytest.approx((0.75 + 0.25) / 2)
    assert found["pass"] == pytest.approx((1 + 0.5) / 2)
    assert found["best_of"] == found["pass"]  # this verifier knows
    assert found["g_pass"] == pytest.approx((1 + 0.5) / 2)  # half of two is one
    assert found["mg_pass"] == pytest.approx((0.5 + 0) / 2)
    # easy: 4 and 4.0 are one answer, right three times of four. hard: alone, beside another answer, beside nothing.
    assert found["maj"] == pytest.approx((0.75 + (0.5 + 0.5 + 1) / 6) / 2)


def test_names_and_what_is_told() -> None:
    found = at_k(FOUR, "pass", 2)
    assert found.name == "pass@2"
    assert found.told == "95% bootstrap over 2 problems, from 4 samples of each, reused"
    assert at_k(FOUR, "maj", 4).told == "95% bootstrap over 2 problems"
    assert at_k(FOUR, "g_pass", 4).name == "G-pass@4"
    assert found.to_json()["drawn"] == 4
    assert "monte_carlo_error" not in found.to_json()


def test_a_monte_carlo_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(majority, "EXACT_STEPS", 0)
    found = at_k(FOUR, "maj", 2)
    assert 0 < found.error < 0.01
    assert f"Monte-Carlo over 4,000 subsets, ± {found.error:.4f}" in found.told
    assert found.to_json()["monte_carlo_error"] == round(found.error, 6)


def test_single_samples_get_wilson() -> None:
    single = matrix(**{f"p{n}": ["4" if n < 15 else "3"] for n in range(148)})
    found = at_k(single, "mean", 1).found
    assert found.method == "wilson"
    assert (found.low, found.high) == pytest.approx((0.0624, 0.1605), abs=5e-5)  # Newcombe 1998, table I


def test_problems_with_fewer_samples_are_left_out_and_counted() -> None:
    uneven = matrix(a=["4", "4"], b=["3"])
    assert at_k(uneven, "pass", 2).problems == 1
    assert at_k(uneven, "pass", 1).problems == 2
    assert (uneven.least, uneven.most) == (1, 2)


@pytest.mark.parametrize(
    ("figure", "k", "says"),
    [("pas", 1, "unknown figure"), ("pass", 0, "pass@0"), ("pass", 5, "k from 1 to 4"), ("best_of", 2, "scores")],
)
def test_what_the_matrix_does_not_hold_is_refused(figure: str, k: int, says: str) -> None:
    with pytest.raises(InputError, match=says):
        at_k(FOUR, figure, k)  # type: ignore[arg-type]
