"""The prefix benchmark at a small size: its shape and its promises, not its figures."""

from __future__ import annotations

import dspy
import pytest

import reasonflow as rf
from reasonflow.errors import InputError
from reasonflow.evals.performance.prefix import ARMS, Prefixes, measure_prefix


@pytest.fixture(scope="module")
def measured() -> Prefixes:
    lm = rf.scripted(lambda prompt, seed, index: f"draft {seed} of it", latency=0.001)
    return measure_prefix(lm, repeats=2, context_tokens=400)


def test_every_arm_runs_in_every_repeat(measured: Prefixes) -> None:
    assert all(len(measured.of(arm)) == 2 for arm in ARMS)
    told = measured.report().to_json()
    assert {"shared_share", "computed_over_ideal", "dspy_shared_share", "dspy_computed_over_ideal"} <= set(
        told["figures"]
    )
    assert told["spread"].keys() <= told["figures"].keys()


def test_our_stages_share_the_context_and_dspys_do_not(measured: Prefixes) -> None:
    figures = measured.figures()
    assert figures["shared_share"] > 0.95
    assert figures["asyncio_shared_share"] > 0.95
    assert figures["dspy_shared_share"] < 0.1


def test_nothing_is_computed_twice(measured: Prefixes) -> None:
    figures = measured.figures()
    assert 1 <= figures["computed_over_ideal"] < 1.03
    assert figures["dspy_computed_over_ideal"] > 1.5


def test_no_repeats_are_refused() -> None:
    with pytest.raises(InputError, match="0 repeats"):
        measure_prefix(rf.scripted("x"), repeats=0)


@pytest.mark.engine
def test_on_the_real_engine_the_context_is_computed_once(embedded_lm: dspy.LM) -> None:
    figures = measure_prefix(embedded_lm, repeats=1, context_tokens=600).figures()
    assert figures["shared_share"] >= 0.95
    assert figures["computed_over_ideal"] <= 1.03
    assert figures["dspy_computed_over_ideal"] > 1.3
