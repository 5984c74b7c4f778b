"""Accuracy and its interval against published and independently computed values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasonflow.evals.statistics import accuracy, bootstrap, paired_difference, wilson


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        # Newcombe 1998, Statistics in Medicine 17, 857-872, table I, method 3 (score, without continuity correction).
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_the_published_intervals(successes: int, trials: int, low: float, high: float) -> None:
    assert wilson(successes, trials) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share_and_mirrors(case: tuple[int, int]) -> None:
    k, n = case
    low, high = wilson(k, n)
    assert 0.0 <= low <= k / n <= high <= 1.0
    mirrored = wilson(n - k, n)
    assert mirrored == pytest.approx((1 - high, 1 - low))


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (3, 2), (-1, 4)])
def test_wilson_refuses_impossible_counts(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match="successes"):
        wilson(successes, trials)


def test_the_bootstrap_agrees_with_the_normal_interval_where_that_holds() -> None:
    means = [0.25, 0.5, 0.75, 1.0] * 100
    error = (sum((m - 0.625) ** 2 for m in means) / len(means) / len(means)) ** 0.5
    low, high = bootstrap(means, seed=0)
    assert low == pytest.approx(0.625 - 1.96 * error, abs=2e-3)
    assert high == pytest.approx(0.625 + 1.96 * error, abs=2e-3)


def test_the_bootstrap_repeats_with_its_seed() -> None:
    means = [0.1 * i * i % 1 for i in range(40)]
    assert bootstrap(means, seed=3) == bootstrap(means, seed=3)
    assert bootstrap(means, seed=3) != bootstrap(means, seed=4)


def test_accuracy_weighs_problems_not_samples() -> None:
    assert accuracy([[True], [False, False, False]]).value == 0.5


def test_samples_of_one_problem_do_not_pretend_to_be_independent() -> None:
    verdicts = [[True] * 8] * 5 + [[False] * 8] * 5
    clustered = accuracy(verdicts)
    assert clustered.method == "bootstrap"
    naive = wilson(40, 80)
    assert clustered.high - clustered.low > 2 * (naive[1] - naive[0])


def test_single_samples_get_wilson() -> None:
    found = accuracy([[True]] * 81 + [[False]] * 182)
    assert found.method == "wilson"
    assert (found.low, found.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)


@pytest.mark.parametrize("verdict", [True, False])
def test_unanimous_problems_still_have_an_interval(verdict: bool) -> None:
    found = accuracy([[verdict] * 4] * 6)
    assert found.value == float(verdict)
    assert found.high - found.low > 0.3


def test_problems_without_samples_are_left_out_and_nothing_is_an_error() -> None:
    assert accuracy([[], [True]]).value == 1.0
    with pytest.raises(ValueError, match="no sample"):
        accuracy([[]])


verdicts = st.lists(st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=3), min_size=1, max_size=8)


@given(verdicts)
def test_a_paired_difference_is_that_of_the_accuracies_and_mirrors(first: list[list[float]]) -> None:
    second = [[float(not each) for each in samples] for samples in first[::-1]]
    there, back = paired_difference(first, second), paired_difference(second, first)
    assert there.value == pytest.approx(accuracy(first).value - accuracy(second).value)
    assert there.low <= there.value + 1e-12
    assert there.value <= there.high + 1e-12
    assert back.value == pytest.approx(-there.value)


def test_pairs_that_agree_narrow_it_though_problems_differ() -> None:
    hard = [[0.0]] * 20 + [[1.0]] * 20
    better = [[1.0]] * 2 + hard[2:]
    paired, shuffled = paired_difference(better, hard), paired_difference(better, hard[::-1])
    assert paired.value == pytest.approx(0.05)
    assert shuffled.value == pytest.approx(0.05)
    assert paired.high - paired.low < (shuffled.high - shuffled.low) / 3


@pytest.mark.parametrize(("first", "second", "value"), [(1.0, 1.0, 0.0), (1.0, 0.0, 1.0), (0.25, 0.5, -0.25)])
def test_problems_that_all_differ_alike_are_no_proof_that_others_would(
    first: float, second: float, value: float
) -> None:
    found = paired_difference([[first]] * 20, [[second]] * 20)
    assert found.value == value
    unseen = 0.1611  # Newcombe 1998, table I: 0 of 20
    assert (found.low, found.high) == pytest.approx(
        (value - unseen * (1 + value), value + unseen * (1 - value)), abs=2e-4
    )
    assert paired_difference([[first]] * 200, [[second]] * 200).low > found.low or value == -1


@pytest.mark.parametrize(("first", "second"), [([], []), ([[1.0]], []), ([[1.0]], [[]])])
def test_what_does_not_pair_has_no_difference(first: list[list[float]], second: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="do not pair"):
        paired_difference(first, second)
