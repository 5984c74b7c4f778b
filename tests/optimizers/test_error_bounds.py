"""Bounds on errors: their chance is what a count of all coin rows says, and no population gets around them."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasonflow.optimizers import error_bounds
from reasonflow.optimizers.error_bounds import binomial_tail, most_errors


@given(st.integers(0, 30), st.integers(1, 30), st.fractions(Fraction(1, 50), Fraction(49, 50), max_denominator=50))
def test_a_tail_is_the_sum_of_its_chances(errors: int, count: int, rate: Fraction) -> None:
    errors = min(errors, count)
    exact = sum(math.comb(count, k) * rate**k * (1 - rate) ** (count - k) for k in range(errors + 1))
    assert binomial_tail(errors, count, float(rate)) == pytest.approx(float(exact), rel=1e-9)


def keeping(bound: tuple[int, ...], alpha: float) -> float:
    """The chance that coins of that rate ever keep to the bound, over all rows of coins."""
    chance = 0.0
    for row in itertools.product((0, 1), repeat=len(bound) - 1):
        errors = itertools.accumulate(row)
        if any(number <= most for number, most in zip(errors, bound[1:], strict=True)):
            chance += alpha ** sum(row) * (1 - alpha) ** (len(row) - sum(row))
    return chance


@pytest.mark.parametrize(("alpha", "delta"), [(0.3, 0.2), (0.5, 0.1), (0.6, 0.05)])
def test_all_of_them_together_keep_to_the_bound_with_a_chance_of_delta(alpha: float, delta: float) -> None:
    bound = most_errors(14, alpha, delta)
    assert 0.3 * delta < keeping(bound, alpha) <= delta
    one_more = (bound[0], *(most + (most >= 0) for most in bound[1:]))
    assert keeping(one_more, alpha) > delta


@given(st.integers(1, 150), st.sampled_from([0.05, 0.1, 0.3]), st.sampled_from([0.01, 0.1, 0.5]))
def test_a_bound_never_falls_and_grows_by_one_at_most(count: int, alpha: float, delta: float) -> None:
    bound = most_errors(count, alpha, delta)
    assert len(bound) == count + 1
    assert {after - before for before, after in itertools.pairwise(bound)} <= {0, 1}
    assert (bound[-1] >= 0) == ((1 - alpha) ** count <= delta)


def test_few_steps_are_as_safe_and_hardly_stricter(monkeypatch: pytest.MonkeyPatch) -> None:
    fine = most_errors(600, 0.1, 0.1)
    monkeypatch.setattr(error_bounds, "_STEPS", 40)
    most_errors.cache_clear()
    coarse = most_errors(600, 0.1, 0.1)
    most_errors.cache_clear()
    assert {after - before for before, after in itertools.pairwise(coarse)} <= {0, 1}
    assert coarse[-1] >= fine[-1] - 1
    random, kept = Random(1), 0
    for _ in range(1_000):
        errors = itertools.accumulate(random.random() < 0.1 for _ in range(600))
        kept += any(number <= most for number, most in zip(errors, coarse[1:], strict=True))
    assert 0.02 <= kept / 1_000 <= 0.12


@pytest.mark.parametrize(
    "shells",
    [
        ((0.3, 0.15), (0.7, 0.05)),  # strict thresholds are too risky, loose ones are not
        ((0.2, 0.0), (0.1, 0.4), (0.2, 0.05), (0.5, 0.13)),  # in turns
        ((1.0, 0.11),),  # scores say nothing, and the risk is just above alpha
    ],
)
def test_no_population_gets_around_it(shells: tuple[tuple[float, float], ...]) -> None:
    """shells: share of samples and share of errors among them, best scores first."""
    random, wrong, splits = Random(5), 0, 1_500
    count = 200
    bound = most_errors(count, 0.1, 0.1)
    for _ in range(splits):
        drawn = sorted(random.random() for _ in range(count))
        errors = 0
        for accepted, place in enumerate(drawn, 1):
            errors += random.random() < _rate(shells, place)
            if errors <= bound[accepted] and _risk(shells, place) > 0.1:
                wrong += 1
                break
    assert wrong / splits <= 0.1 + 2 * math.sqrt(0.09 / splits)


def _rate(shells: tuple[tuple[float, float], ...], place: float) -> float:
    for share, rate in shells:
        place -= share
        if place <= 0:
            return rate
    return shells[-1][1]


def _risk(shells: tuple[tuple[float, float], ...], place: float) -> float:
    """Of the threshold at which that share of all samples passes."""
    left, errors = place, 0.0
    for share, rate in shells:
        errors += min(left, share) * rate
        left = max(0.0, left - share)
    return errors / place
