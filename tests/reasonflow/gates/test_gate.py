"""Gates: what passes, what is refused, and what is saved with a program."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

import reasonflow as rf
from reasonflow.errors import InputError
from reasonflow.gates.gate import Calibration
from reasonflow.gates.scores import Measured, Separability


def calibrated(gate: rf.Gate, threshold: float | None = 0.5, *, model: str = "m1") -> rf.Gate:
    gate.set(
        threshold,
        Calibration(method="by hand", digest="d", samples=9, model=model, settings=gate.score.settings, alpha=0.1),
    )
    return gate


@pytest.mark.parametrize(
    ("higher", "strict", "passing"),
    [(True, False, [0.5, 0.6]), (True, True, [0.6]), (False, False, [0.4, 0.5]), (False, True, [0.4])],
)
def test_what_is_good_enough_passes(higher: bool, strict: bool, passing: list[float]) -> None:
    gate = rf.Gate(Measured("x", higher=higher), 0.5, strict=strict)
    decisions = {score: gate.decide(score) for score in (0.4, 0.5, 0.6)}
    assert [score for score, decision in decisions.items() if decision.accepted] == passing
    assert decisions[0.6] == (0.6 in passing, 0.6, "0.6 against 0.5")


def test_a_gate_without_a_threshold_refuses() -> None:
    with pytest.raises(InputError, match="no threshold"):
        rf.Gate(Measured("x")).decide(1.0)


def test_a_gate_that_can_promise_nothing_lets_nothing_pass() -> None:
    decision = calibrated(rf.Gate(Measured("x")), None).decide(1e9)
    assert decision == (False, 1e9, "no threshold holds what was asked for: nothing passes")


def _raises(value: Any) -> float:
    raise OSError("the engine is away")


@pytest.mark.parametrize(
    ("score", "value", "why"),
    [
        (Measured("x", fn=_raises), 1, "not scored: the engine is away"),
        (Measured("x"), math.nan, "not scored: the score is not a number"),
        (Measured("x"), None, "not scored: "),
        (Separability(), [], "not scored: there are no log-probabilities"),
    ],
)
def test_what_cannot_be_scored_is_not_accepted(score: Any, value: Any, why: str) -> None:
    decision = rf.Gate(score, -1e9).decide(value)
    assert (decision.accepted, decision.score) == (False, None)
    assert decision.why.startswith(why)


def test_another_model_or_score_than_calibrated_is_refused() -> None:
    gate = calibrated(rf.Gate(Separability(k=20)))
    gate.check(model="m1")
    gate.check()
    with pytest.raises(InputError, match="then m1, now m2"):
        gate.check(model="m2")
    gate.score = Separability(k=64)
    with pytest.raises(InputError, match="then k 20, now k 64"):
        gate.decide([], model="m1")


@pytest.mark.parametrize("threshold", [math.nan, math.inf])
def test_a_threshold_is_a_number(threshold: float) -> None:
    with pytest.raises(InputError, match="finite"):
        rf.Gate(Measured("x"), threshold)


class Gated(rf.Program):
    def __init__(self) -> None:
        self.solve = rf.Generate("question -> answer")
        self.gate = rf.Gate(Separability(k=20))

    def plan(self, question: Any) -> Any:
        return self.solve(question=question)


def test_it_is_saved_and_loaded_with_its_program(tmp_path: Path) -> None:
    program = Gated()
    calibrated(program.gate, 0.25)
    program.save(tmp_path / "gated.json")
    again = rf.load(tmp_path / "gated.json", allow=[Gated])
    assert (again.gate.threshold, again.gate.calibration) == (0.25, program.gate.calibration)
    again.gate.check(model="m1")
    assert dict(program.named_parameters())["gate"] is program.gate, "optimizers find it"
    program.gate.reset()
    assert program.gate.threshold == 0.25


def test_a_file_from_before_the_gate_leaves_it_as_it_is() -> None:
    program = Gated()
    state = program.dump_state()
    del state["gate"]
    calibrated(program.gate)
    program.load_state(json.loads(json.dumps(state)))
    assert program.gate.threshold == 0.5
