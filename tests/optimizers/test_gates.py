"""Calibration: what it promises holds over many splits, and it accepts enough."""

from __future__ import annotations

import math
from bisect import bisect_left
from random import Random
from typing import Any

import pytest

import reasonflow as rf
from reasonflow.errors import InputError
from reasonflow.gates.scores import Measured
from reasonflow.optimizers.gates import Sample, calibrate, fewest, within_takeover


def gate(*, higher: bool = True, strict: bool = False) -> rf.Gate:
    return rf.Gate(Measured("x", higher=higher), strict=strict)


def drawn(random: Random, count: int, *, wrong: float = 0.3, apart: float = 1.5, higher: bool = True) -> list[Sample]:
    """Scores of right ones are higher by so many deviations."""
    samples = []
    for _ in range(count):
        right = random.random() >= wrong
        score = random.gauss(apart * right, 1)
        samples.append(Sample(score if higher else -score, right))
    return samples


def accepted(found: rf.Gate, samples: list[Sample]) -> list[bool]:
    return [right for score, right in samples if found.decide(score).accepted]


def in_hindsight(ordered: list[Sample], alpha: float) -> int:
    """How many the best threshold accepts, known what is right; ordered: the best score first."""
    wrong = most = 0
    for count, (_, right) in enumerate(ordered, 1):
        wrong += not right
        most = count if wrong <= alpha * count else most
    return most


@pytest.mark.parametrize(
    ("wrong", "apart", "higher", "strict", "least"),
    [(0.3, 1.5, True, False, 0.7), (0.2, 1.0, False, True, 0.6), (0.4, 1.0, True, True, 0.0)],
)
def test_over_500_splits_it_errs_as_seldom_as_promised_and_accepts_most_of_hindsight(
    wrong: float, apart: float, higher: bool, strict: bool, least: float
) -> None:
    """The last scores hardly tell right from wrong: of the best threshold's 16 % little can be promised."""
    random = Random(7)
    pool = sorted(drawn(random, 4_000, wrong=wrong, apart=apart, higher=higher), reverse=higher)
    violations, shares = 0, []
    for split in range(500):
        taken = set(random.sample(range(4_000), 1_000))
        held, rest = [pool[place] for place in taken], [each for n, each in enumerate(pool) if n not in taken]
        found = gate(higher=higher, strict=strict)
        calibrate(found, held, alpha=0.1, delta=0.1)
        # The rest stands in the order of its scores: a gate accepts a beginning of it, which is found by halving.
        end = bisect_left(rest, True, key=lambda sample, found=found: not found.decide(sample.score).accepted)  # type: ignore[misc]
        passing = [right for _, right in rest[:end]]
        if split < 5:
            assert passing == accepted(found, rest)
        violations += passing.count(False) > 0.1 * len(passing)
        shares.append(len(passing) / in_hindsight(rest, 0.1))
    assert violations / 500 <= 0.1
    assert sum(shares) / 500 >= least


def test_scores_of_few_values_hold_too() -> None:
    """Of vote shares many are equal: they pass together, and are counted together."""
    random, violations = Random(3), 0
    for _ in range(300):
        samples = []
        for _ in range(900):
            score = random.choice([0.25, 0.5, 0.75, 1.0])
            samples.append(Sample(score, random.random() < 0.55 + 0.4 * score))
        found = gate()
        calibrate(found, samples)
        threshold = found.threshold
        if threshold is not None:  # the share of errors is known here
            values = [score for score in (0.25, 0.5, 0.75, 1.0) if score >= threshold]
            violations += 1 - sum(0.55 + 0.4 * score for score in values) / len(values) > 0.1
    assert violations / 300 <= 0.1


def test_where_nothing_holds_nothing_passes() -> None:
    random = Random(0)
    found = gate()
    calibration = calibrate(found, [Sample(random.random(), random.random() < 0.5) for _ in range(500)])
    assert (found.threshold, calibration.acceptance) == (None, 0.0)
    assert not found.decide(1e9).accepted


def test_where_all_is_wrong_nothing_passes() -> None:
    found = gate()
    assert calibrate(found, [Sample(1.0, False)] * 300).acceptance == 0.0
    assert found.threshold is None


def test_where_all_is_right_all_passes() -> None:
    found = gate()
    calibration = calibrate(found, [Sample(float(place), True) for place in range(100)], model="m1")
    assert (found.threshold, calibration.acceptance, calibration.samples) == (0.0, 1.0, 100)
    assert (calibration.alpha, calibration.delta, calibration.model) == (0.1, 0.1, "m1")
    assert calibration.digest != calibrate(gate(), [Sample(1.0, True)] * 100).digest


def test_fewest_is_the_fewest() -> None:
    least = fewest(0.1, 0.1)
    assert calibrate(gate(), [Sample(1.0, True)] * least).acceptance == 1.0
    with pytest.raises(InputError, match=rf"(?s){least - 1} scored samples cannot show .* takes {least}"):
        calibrate(gate(), [Sample(1.0, True)] * (least - 1))


def test_what_was_not_scored_is_no_sample_and_passes_nothing() -> None:
    samples = [Sample(1.0, True)] * 50 + [Sample(math.nan, True)] * 50
    found = gate()
    assert calibrate(found, samples).acceptance == 0.5
    assert not found.decide(math.nan).accepted
    with pytest.raises(InputError, match="20 scored samples"):
        calibrate(gate(), samples[30:])


@pytest.mark.parametrize("shares", [{"alpha": 0.0}, {"alpha": 1.0}, {"delta": -0.1}, {"delta": math.nan}])
def test_alpha_and_delta_are_shares(shares: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(shares))):
        calibrate(gate(), [Sample(1.0, True)] * 100, **shares)


@pytest.mark.parametrize("higher", [True, False])
def test_a_takeover_is_the_share_that_does_not_pass(higher: bool) -> None:
    samples = [Sample(float(place), place % 2 == 0) for place in range(100)]
    found = gate(higher=higher)
    calibration = within_takeover(found, samples, 0.4)
    assert (calibration.acceptance, calibration.alpha, calibration.method) == (0.6, None, "takeover")
    assert found.decide(99.0 if higher else 0.0).accepted
    with pytest.raises(InputError, match="5 of 10 samples would have to pass, and 0 are scored"):
        within_takeover(gate(), [Sample(math.nan, True)] * 10, 0.5)
    with pytest.raises(InputError, match="takeover"):
        within_takeover(gate(), samples, 0.0)
