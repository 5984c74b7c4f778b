"""The benchmark of the engine at a small size: its shape and its promises, not its figures."""

from __future__ import annotations

import dspy
import pytest

import reasonflow as rf
from reasonflow.errors import InputError
from reasonflow.evals.performance.engine import ARMS, Engine, measure_engine


def test_ratios_are_taken_within_each_repeat() -> None:
    made = Engine(
        rates={"ours": (90.0, 200.0), "raw": (100.0, 250.0), "asyncio": (100.0, 250.0), "dspy": (80.0, 200.0)},
        calls=4,
        prompt_tokens=100,
        output_tokens=8,
        repeats=2,
    )
    assert made.over_raw("ours") == [0.9, 0.8]
    assert made.figures()["ours_over_raw"] == 0.85
    assert made.report().to_json()["spread"]["ours_over_raw"] == [0.8, 0.9]


def test_an_engine_without_an_offline_loop_is_refused() -> None:
    with pytest.raises(InputError, match="no offline loop"):
        measure_engine(rf.scripted("four"), repeats=1)


@pytest.mark.engine
def test_on_the_real_engine_every_arm_writes_what_was_forced(embedded_lm: dspy.LM) -> None:
    measured = measure_engine(embedded_lm, repeats=1, calls=6, prompt_tokens=16, output_tokens=8)
    assert all(len(measured.rates[arm]) == 1 for arm in ARMS)
    assert measured.figures()["ours_over_raw"] > 0.2
    assert measured.provenance.engine["model"] == "embedded"
