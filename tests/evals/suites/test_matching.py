"""How many samples and rounds cost the same."""

from __future__ import annotations

from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from reasonflow.evals.suites.matching import closest, rounds_for, samples_for

tokens = st.integers(10, 5_000)


@given(tokens, st.integers(10, 200_000))
def test_no_other_number_of_samples_comes_closer(sample: int, total: int) -> None:
    n = samples_for(total, sample)
    assert n >= 2
    assert n == 2 or all(abs(n * sample - total) <= abs(other * sample - total) for other in (n - 1, n + 1))


@given(tokens, tokens, st.integers(10, 200_000))
def test_as_many_rounds_as_are_needed_and_no_more(first: int, written: int, total: int) -> None:
    def spent(rounds: int) -> int:
        return first + rounds * (first + written)

    rounds = rounds_for(total, first, written, most=1_000_000)
    assert spent(rounds) >= total
    assert rounds == 1 or spent(rounds - 1) < total
    assert rounds_for(total, first, written, most=32) == min(rounds, 32)


@given(st.lists(tokens, min_size=2, max_size=12), tokens)
def test_no_other_number_of_rounds_comes_closer(steps: list[int], wanted: int) -> None:
    spent = list(accumulate(steps))
    rounds = closest(spent, wanted)
    assert 1 <= rounds < len(spent)
    assert all(abs(spent[rounds] - wanted) <= abs(other - wanted) for other in spent[1:])
