"""Racing gives up what is clearly beaten, early, and what is not beaten hardly ever."""

from __future__ import annotations

import math
import random

import pytest

from reasonflow.optimizers.topology.racing import ALPHA, Row, blocks, chance, dominator, t_tail

PROBLEMS = 64


def rows(draw: random.Random, accuracy: float, tokens: int, hardness: list[float]) -> list[Row]:
    """Of a trial that meets problems of this hardness: they are right or wrong together more often than not."""
    found = []
    for hard in hardness:
        right = (0.5 * hard + 0.5 * draw.random()) < accuracy
        size = round(tokens * draw.uniform(0.9, 1.1))
        found.append(Row(float(right), size, 4 * size))
    return found


def given_up_after(trial: list[Row], finished: list[list[Row]]) -> int | None:
    """Problems after which a race ends early; None where it does not."""
    ends = blocks(len(trial))
    for end in ends[:-1]:
        if dominator(trial[:end], finished, looks=len(ends) - 1) is not None:
            return end
    return None


def test_blocks_grow_and_end_with_all_problems() -> None:
    assert blocks(64) == [8, 16, 32, 64]
    assert blocks(9) == [9]
    assert blocks(100)[-1] == 100


def test_a_bad_and_dear_trial_is_given_up_early() -> None:
    draw = random.Random(1)
    saved = []
    for _ in range(50):
        hardness = [draw.random() for _ in range(PROBLEMS)]
        good = rows(draw, 0.9, 100, hardness)
        end = given_up_after(rows(draw, 0.2, 200, hardness), [good])
        saved.append(PROBLEMS - (end or PROBLEMS))
    assert sum(saved) / len(saved) > PROBLEMS / 2, "less than half of the work was saved"


@pytest.mark.parametrize("others", [1, 8])
def test_the_best_is_given_up_no_more_often_than_stated(others: int) -> None:
    """The best by a hair and the dearest: whatever is given up here is given up wrongly."""
    draw = random.Random(2)
    wrong = 0
    for _ in range(200):
        hardness = [draw.random() for _ in range(PROBLEMS)]
        rivals = [rows(draw, 0.6, 100, hardness) for _ in range(others)]
        wrong += given_up_after(rows(draw, 0.601, 200, hardness), rivals) is not None
    assert wrong <= 200 * ALPHA


def test_what_is_cheaper_in_anything_is_never_given_up_for_its_accuracy() -> None:
    dear = [Row(1.0, 100, 1000)] * 32
    assert dominator([Row(0.0, 99, 4000)] * 32, [dear], looks=1) is not None, "one percent is nobody's reason"
    assert dominator([Row(0.0, 400, 900)] * 32, [dear], looks=1) is None
    assert dominator([Row(0.0, 90, 4000)] * 32, [dear], looks=1) is None


def test_equal_trials_are_both_kept() -> None:
    same = [Row(1.0, 100, 100)] * 32
    assert dominator(same, [same], looks=1) is None


def test_more_rivals_and_more_looks_ask_for_more_evidence() -> None:
    good, bad = [Row(1.0, 100, 100)] * 8, [Row(0.0, 200, 200)] * 8
    assert chance(bad, good) == pytest.approx(2**-8)
    assert dominator(bad, [good], looks=1) == 0
    assert dominator(bad, [good] * 30, looks=3) is None


def test_the_exact_test_is_mcnemars() -> None:
    # 6 of 7 discordant problems go one way: (7 + 1) / 2^7.
    ours = [Row(0.0, 200, 200)] * 6 + [Row(1.0, 200, 200)] + [Row(1.0, 200, 200)] * 9
    other = [Row(1.0, 100, 100)] * 6 + [Row(0.0, 100, 100)] + [Row(1.0, 100, 100)] * 9
    assert chance(ours, other) == pytest.approx(8 / 128)


@pytest.mark.parametrize(
    ("freedom", "t"), [(1, 6.313752), (2, 2.919986), (3, 2.353363), (7, 1.894579), (10, 1.812461), (31, 1.695519)]
)
def test_the_t_tail_has_the_tables_values(freedom: int, t: float) -> None:
    assert t_tail(t, freedom) == pytest.approx(0.05, rel=1e-5)
    assert t_tail(0.0, freedom) == pytest.approx(0.5)


def test_scores_that_are_no_verdicts_are_compared_by_their_means() -> None:
    draw = random.Random(3)
    ours = [Row(0.3 + 0.1 * draw.random(), 200, 200) for _ in range(16)]
    other = [Row(0.6 + 0.1 * draw.random(), 100, 100) for _ in range(16)]
    assert dominator(ours, [other], looks=3) == 0
    assert math.isclose(chance(other, ours), 1.0)
