"""How many samples and rounds cost the same."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reasonflow.evals.suites.matching import rounds_for, samples_for

tokens = st.integers(10, 5_000)


@given(tokens, st.integers(10, 200_000))
def test_no_other_number_of_samples_comes_closer(sample: int, total: int) -> None:
    n = samples_for(total, sample)
    assert n >= 2
    assert n == 2 or all(abs(n * sample - total) <= abs(other * sample - total) for other in (n - 1, n + 1))


@given(tokens, tokens, st.integers(10, 200_000))
def test_no_other_number_of_rounds_comes_closer(first: int, each: int, total: int) -> None:
    rounds = rounds_for(total, first, each)
    assert rounds >= 1
    if rounds > 1:
        off = [abs(first + number * each - total) for number in (rounds - 1, rounds, rounds + 1)]
        assert off[1] == min(off)
    assert rounds_for(total, first, each, most=32) == min(rounds, 32)
