"""What a sweep makes of samples: points beside the line, and how many samples the line takes."""

from __future__ import annotations

import pytest

from reasonflow.evals.at_k.matrix import matrix_of
from reasonflow.evals.at_k.vote_curve import VoteCurve
from reasonflow.evals.samples import Sample
from reasonflow.evals.sweep.measured import Swept, line_of, measured
from reasonflow.evals.sweep.picture import series
from reasonflow.evals.sweep.running import MOST_LINE, line_samples


def sample(problem: str, index: int, right: bool, tokens: int | None = 100) -> Sample:
    answer = None if tokens is None else "4" if right else f"wrong {index}"
    return Sample(
        id=problem,
        sample=index,
        seed=0,
        answer=answer,
        expected="4",
        correct=right,
        total_tokens=tokens,
        sequential_tokens=tokens,
        error="" if answer else "it broke",
    )


CURVE = VoteCurve(matrix_of([sample(id, n, n < 2) for id in ("b", "a") for n in range(3)]))


def test_a_point_is_paired_with_the_line_by_problem_whatever_the_order() -> None:
    found = measured("n=3", ("3",), [sample("a", 0, True, 250), sample("b", 0, False, 250)], "here", CURVE, 0)
    assert found.accuracy.value == 0.5
    against = found.against["total"]
    assert against is not None
    # maj@2 of two right of three is 2/3, maj@3 is 1: half of each.
    assert against.vote.samples == 2.5
    assert against.accuracy.value == pytest.approx(5 / 6)
    assert against.difference.value == pytest.approx(0.5 - 5 / 6)
    beyond = found.against["sequential"]
    assert beyond is not None
    assert beyond.vote.short


def test_each_problem_is_paired_with_itself() -> None:
    curve = VoteCurve(matrix_of([sample(id, n, id == "a") for id in ("b", "a") for n in range(2)]))
    found = measured("p", (), [sample("a", 0, True, 200), sample("b", 0, False, 200)], "here", curve, 0)
    against = found.against["total"]
    assert against is not None
    assert against.difference.value == 0
    assert against.difference.high < 1  # crosswise one is better and one is worse, from -1 to 1


def test_a_point_cheaper_than_one_sample_and_one_without_tokens_have_nothing_beside_them() -> None:
    cheap = measured("p", (), [sample("a", 0, True, 50), sample("b", 0, True, 50)], "here", CURVE, 0)
    assert cheap.against == {"total": None, "sequential": None}
    failed = measured("p", (), [sample("a", 0, False, None), sample("b", 0, False, None)], "here", CURVE, 0)
    assert failed.against == {"total": None, "sequential": None}
    assert (failed.errors, failed.total_tokens, failed.accuracy.value) == (2, None, 0)
    assert measured("p", (), [sample("a", 0, True)], "here", None, 0).against["total"] is None


def test_the_line_says_out_of_how_many_samples_it_is() -> None:
    points = line_of(CURVE)
    assert [point.samples for point in points] == [1, 2, 3]
    assert [point.total_tokens for point in points] == [100, 200, 300]
    assert "from 3 samples of each, reused" in points[1].figure.told


def test_the_line_has_the_samples_that_the_dearest_point_pays_for() -> None:
    assert line_samples([100, 950, None], 100) == 10
    assert line_samples([10], 100) == 2
    assert line_samples([1e9], 100) == MOST_LINE
    assert line_samples([], 100) == line_samples([500], None) == 2


def test_points_that_differ_in_the_last_axis_are_one_curve() -> None:
    def swept(places: list[tuple[str, ...]], axes: tuple[str, ...]) -> Swept:
        points = tuple(measured("p", place, [sample("a", 0, True)], "", None, 0) for place in places)
        return Swept(axes=axes, points=points, line=(), drawn=0, line_out="")

    two = swept([("1", "x"), ("1", "y"), ("2", "x")], ("n", "by"))
    assert [(name, len(points)) for name, points in series(two)] == [("n=1", 2), ("n=2", 1)]
    assert [name for name, _ in series(swept([("1",), ("2",)], ("n",)))] == ["n"]
    many = swept([(str(n), "x") for n in range(9)], ("n", "by"))
    assert [(name, len(points)) for name, points in series(many)] == [("points", 9)]
