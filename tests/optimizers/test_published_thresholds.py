"""What the papers set, beside their rules as they are written down."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

import reasonflow as rf
from reasonflow.errors import InputError, UnknownName
from reasonflow.gates.conformal import p_value, percentile
from reasonflow.gates.scores import Measured, Perplexity, Score, Separability, TokenProbability
from reasonflow.optimizers.gates import Sample, calibrate
from reasonflow.optimizers.published_thresholds import Source

PERPLEXITIES = st.lists(st.integers(10, 30).map(lambda tenths: tenths / 10), min_size=1, max_size=40)


@given(PERPLEXITIES, st.integers(10, 30))
def test_of_perplexities_it_decides_as_the_rules_do(calibration: list[float], tenths: int) -> None:
    """Percentile below 0.6 as released; in the paper a p-value, of negative perplexities, of at most 0.6."""
    score = tenths / 10
    samples = [Sample(each, right=False) for each in calibration]
    for source in ("released", "paper"):
        gate = rf.Gate(Perplexity())
        found = calibrate(gate, samples, faithful=source)
        passes = gate.passes(gate.threshold, score)
        if source == "released":
            assert passes == (percentile(score, calibration) < 0.6)
        else:
            assert passes == (p_value(-score, [-each for each in calibration]) <= 0.6)
        assert (found.method, found.alpha, found.delta) == (f"published, {source}", None, None)
        assert found.samples == len(calibration)


def test_true_is_what_was_released() -> None:
    samples = [Sample(float(place), place % 2 == 0) for place in range(10)]
    first, second = rf.Gate(Perplexity()), rf.Gate(Perplexity())
    found = calibrate(first, samples, faithful=True, model="m1")
    assert found == calibrate(second, samples, faithful="released", model="m1")
    assert (first.threshold, first.strict, found.acceptance, found.model) == (5.0, False, 0.6, "m1")


def test_of_separability_it_is_a_constant() -> None:
    for source, gate, strict in (
        ("released", rf.Gate(Separability()), True),
        ("paper", rf.Gate(Separability(competitors=False)), False),
    ):
        found = calibrate(gate, [], faithful=source)  # type: ignore[arg-type]
        assert (gate.threshold, gate.strict, found.samples, found.acceptance) == (0.98, strict, 0, None)
        assert (gate.passes(0.98, 0.98), gate.passes(0.98, 0.981)) == (not strict, True)
        gate.check(model="any")


@pytest.mark.parametrize(
    ("score", "source"),
    [
        (Separability(k=20), "released"),
        (Separability(over="mean"), "released"),
        (Separability(), "paper"),
        (TokenProbability(), "released"),
        (Measured("x"), "paper"),
    ],
)
def test_what_is_in_no_paper_is_refused(score: Score, source: Source) -> None:
    gate = rf.Gate(score, 0.3)
    with pytest.raises(InputError, match="no paper has a threshold of"):
        calibrate(gate, [Sample(0.5, True)], faithful=source)
    assert gate.threshold == 0.3


def test_perplexities_of_nothing_and_sources_that_do_not_exist_are_refused() -> None:
    with pytest.raises(InputError, match="a percentile among no scores"):
        calibrate(rf.Gate(Perplexity()), [Sample(math.nan, True)], faithful=True)
    with pytest.raises(UnknownName, match="code"):
        calibrate(rf.Gate(Perplexity()), [Sample(1.0, True)], faithful="code")  # type: ignore[arg-type]
