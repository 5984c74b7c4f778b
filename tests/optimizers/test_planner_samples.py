"""Samples of a planner's small model, and a gate that is calibrated on them."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import dspy
import pytest

import reasonflow as rf
from reasonflow.errors import InputError
from reasonflow.gates.scores import Measured, Separability, TokenProbability
from reasonflow.optimizers.gates import calibrate
from reasonflow.optimizers.planner_samples import planner_samples, samples_by_score
from reasonflow.programs.speculative import AGENT, SMALL, SpeculativePlanner


def exam(count: int, seed: int) -> list[dspy.Example]:
    random = Random(seed)
    pairs = [(random.randint(5, 99), random.randint(5, 99)) for _ in range(count)]
    return [dspy.Example(problem=f"{a} + {b}?", answer=str(a + b)).with_inputs("problem") for a, b in pairs]


def right(example: dspy.Example, found: Any) -> bool:
    return bool(found.answer == example.answer)


def model(prompt: str, seed: int | None, index: int) -> Any:
    """Adds, and is less sure where it errs: of sums above 99."""
    first, second = (int(part) for part in prompt.rpartition("\n")[2].rstrip("?").split(" + "))
    total = first + second
    if "just the final answer" not in prompt:
        return f"\\boxed{{{total}}}"
    return ({"7": 0.6, "8": 0.4},) if total > 99 else (str(total // 10), {str(total % 10): 0.99, "x": 0.01})


def planner(**more: Any) -> SpeculativePlanner:
    options = {"gate": rf.Gate(TokenProbability()), "agent": rf.ChainOfThought(), "judge": False, **more}
    return SpeculativePlanner("problem -> answer", **options)


def test_a_gate_calibrated_on_them_keeps_errors_rare() -> None:
    found = planner()
    with dspy.context(lm=rf.scripted(model, top_logprobs=20)):
        samples = planner_samples(found, exam(300, 1), right)
        calibration = calibrate(found.gate, samples, alpha=0.1, delta=0.1, model=found.model)
        outs = [found(**example.inputs()) for example in exam(60, 2)]
    assert calibration.model == "scripted"
    assert 0.3 < calibration.acceptance < 0.7
    assert {out.source for out in outs} == {SMALL, AGENT}
    assert [out.answer for out in outs] == [example.answer for example in exam(60, 2)]


def test_what_has_no_answer_or_score_is_never_accepted() -> None:
    def fails(prompt: str, seed: int | None, index: int) -> Any:
        if "1 +" in prompt:
            raise InputError("no")
        return "" if "2 +" in prompt else "5"

    rows = [dspy.Example(problem=f"{n} + 4?", answer="5").with_inputs("problem") for n in (1, 2, 3)]
    odd = planner(gate=rf.Gate(Measured("odd", lambda record: record["nope"])))
    with dspy.context(lm=rf.scripted(fails, top_logprobs=20)):
        scores = [(math.isnan(score), good) for score, good in planner_samples(planner(), rows, right)]
        unscored = planner_samples(odd, rows[2:], right)
    assert scores == [(True, False), (True, False), (False, True)]
    assert math.isnan(unscored[0].score)


@pytest.mark.engine
def test_on_the_engine_samples_are_those_of_the_run(embedded_lm: dspy.LM) -> None:
    text = "There are {} red cups. There are {} more blue cups than red cups. How many blue cups are there?"
    rows = [
        dspy.Example(problem=text.format(a, b), answer=str(a + b)).with_inputs("problem")
        for a in (3, 5)
        for b in (2, 9)
    ]
    found = planner()
    with dspy.context(lm=embedded_lm):
        samples = planner_samples(found, rows, right)
        found.gate.threshold = max(sample.score for sample in samples)
        outs = [found(**row.inputs()) for row in rows]
    assert len(samples) == 4
    assert [out.source == SMALL for out in outs] == [sample.score == found.gate.threshold for sample in samples]


def test_several_scores_are_of_the_same_answers() -> None:
    found = planner(gate=rf.Gate(Separability(k=3)))
    asked: list[str] = []

    def twice(prompt: str, seed: int | None, index: int) -> Any:
        asked.append(prompt)
        return ({"7": 0.6, "8": 0.3, "9": 0.1},)

    with dspy.context(lm=rf.scripted(twice, top_logprobs=20)):
        short = Measured("short", lambda record: float(len(record.answer)))
        by_score = samples_by_score(found, [Separability(k=3), TokenProbability(), short], exam(4, 1), right)
    assert len(asked) == 4
    assert [[sample.right for sample in samples] for samples in by_score] == [[False] * 4] * 3
    assert [sample.score for sample in by_score[1]] == pytest.approx([0.6] * 4)
    assert [sample.score for sample in by_score[2]] == [1.0] * 4
    logs = [math.log(chance) for chance in (0.6, 0.3, 0.1)]
    assert [sample.score for sample in by_score[0]] == pytest.approx([Separability(k=3).of_token(logs)] * 4)
