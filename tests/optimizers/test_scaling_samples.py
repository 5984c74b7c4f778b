"""Samples of a draft model's chunks, turn by turn, and gates that are calibrated on them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import dspy
import pytest

import reasonflow as rf
from reasonflow.backends.scripted import ScriptedBackend
from reasonflow.errors import BackendError, InputError
from reasonflow.gates.scores import Perplexity, TokenProbability
from reasonflow.optimizers.gates import calibrate
from reasonflow.optimizers.scaling_samples import scaling_samples
from reasonflow.programs.async_scaling import AsyncScaling

SURE, UNSURE = {"yes": 0.99, "no": 0.01}, {"yes": 0.5, "no": 0.3}


def exam(count: int, first: int = 0) -> list[dspy.Example]:
    rows = range(first, first + count)
    return [dspy.Example(problem=f"How many are {n}?", answer=str(n)).with_inputs("problem") for n in rows]


def right(example: dspy.Example, found: Any) -> bool:
    return bool(found.answer == example.answer)


def draft(prompt: str, seed: int | None, index: int) -> Any:
    """Two turns. Wrong of every fourth number: it is unsure of those in its second chunk, and in the first never."""
    asked, _, written = prompt.rpartition("How many are ")[2].partition("?")
    number = int(asked)
    if "|" not in written:
        return (SURE, " | and so on and on")
    wrong = number % 4 == 0
    return (UNSURE if wrong else SURE, rf" \boxed{{{number + wrong}}}")


def scaling(gate: Any = None, **more: Any) -> AsyncScaling:
    options = {"n": 2, "turns": 4, "chunk": 4, "scoring": "draft", **more}
    gates = gate or [rf.Gate(TokenProbability()), rf.Gate(TokenProbability())]
    lms = {
        "draft": rf.scripted(draft, model="small", top_logprobs=20),
        "target": rf.scripted(r"\boxed{0}", model="large"),
    }
    return AsyncScaling("problem -> answer", gates, **{**lms, **options})


def test_each_gate_is_calibrated_on_the_chunks_of_its_turn_and_kept_in_the_artifact(tmp_path: Path) -> None:
    program = scaling(draft=None, target=None)
    with dspy.context(lm=rf.scripted(draft, model="small", top_logprobs=20)):
        first, second = scaling_samples(program, exam(200), right)
        model = program.model
    assert (len(first), len(second)) == (200, 200)
    assert {sample.right for sample in first} == {True, False}
    assert len({round(sample.score, 9) for sample in first}) == 1
    assert all(sample.right == (sample.score > 0.9) for sample in second)
    for gate, samples in zip(program.gates, (first, second), strict=True):
        calibrate(gate, samples, alpha=0.1, delta=0.1, model=model)
    assert [gate.calibration and gate.calibration.acceptance for gate in program.gates] == [0.0, 0.75]

    program.save(tmp_path / "scaling.json")
    loaded = rf.load(tmp_path / "scaling.json")
    assert [(gate.threshold, gate.calibration) for gate in loaded.gates] == [
        (gate.threshold, gate.calibration) for gate in program.gates
    ]


def test_calibrated_gates_decide_turn_by_turn() -> None:
    program = scaling([rf.Gate(TokenProbability(), 0.0), rf.Gate(TokenProbability())])
    _, second = scaling_samples(program, exam(200), right)
    calibrate(program.gates[1], second, model=program.model)
    outs = [program(problem=example.problem) for example in exam(4)]
    assert [out.answer for out in outs] == ["0", "1", "2", "3"]  # of 0 the target corrects the draft's 1


def test_the_last_gate_has_one_random_chunk_of_all_later_turns() -> None:
    (samples,) = scaling_samples(scaling(rf.Gate(TokenProbability())), exam(100), right, seed=1)
    (again,) = scaling_samples(scaling(rf.Gate(TokenProbability())), exam(100), right, seed=1)
    wrong = [sample.score > 0.9 for sample in samples if not sample.right]
    assert samples == again
    assert len(samples) == 100
    assert 5 <= wrong.count(True) <= 20  # of 25: about half are first chunks, of which it is always sure


def test_a_sample_that_does_not_reach_a_turn_is_none_of_it_and_one_without_an_answer_is_wrong() -> None:
    def ends(prompt: str, seed: int | None, index: int) -> Any:
        written = prompt.rpartition("How many are ")[2]
        return r"\boxed{1}" if written.startswith("1?") else "a b c d e f g h"

    program = scaling(draft=rf.scripted(ends, top_logprobs=20), turns=3)
    first, second = scaling_samples(program, exam(2, first=1), right, per_example=2)
    assert [sample.right for sample in first] == [True, True, False, False]
    assert [sample.right for sample in second] == [False, False]


def test_what_the_target_cannot_score_is_never_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(self: Any, prompt: Any, continuation: Any) -> Any:
        raise BackendError("out of memory")

    monkeypatch.setattr(ScriptedBackend, "score", fails)
    (samples,) = scaling_samples(scaling(rf.Gate(Perplexity()), scoring="target"), exam(3), right)
    assert [math.isnan(sample.score) for sample in samples] == [True] * 3


def test_models_that_do_not_fit_are_refused_before_anything_is_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    prompts: list[str] = []

    def writes(prompt: str, seed: int | None, index: int) -> Any:
        prompts.append(prompt)
        return r"\boxed{1}"

    found = ScriptedBackend.capabilities.fget
    assert found
    monkeypatch.setattr(
        ScriptedBackend, "capabilities", property(lambda self: replace(found(self), prompt_logprobs=False))
    )
    program = scaling(rf.Gate(Perplexity()), draft=rf.scripted(writes, top_logprobs=20), scoring="target")
    with pytest.raises(InputError, match="does not score given text"):
        scaling_samples(program, exam(1), right)
    assert not prompts


@pytest.mark.engine
def test_on_the_engine_the_target_scores_the_drafts_chunks(embedded_lm: dspy.LM) -> None:
    text = "There are {} red cups. There are {} more blue cups than red cups. How many blue cups are there?"
    rows = [
        dspy.Example(problem=text.format(a, b), answer=str(a + b)).with_inputs("problem")
        for a in (3, 5)
        for b in (2, 4)
    ]
    gates = [rf.Gate(Perplexity()) for _ in range(2)]
    program = AsyncScaling(gate=gates, chunk=24, turns=6)
    with dspy.context(lm=embedded_lm):
        first, later = scaling_samples(program, rows, right, per_example=2)
        calibrate(gates[0], first * 10, alpha=0.5, model=program.model)
    assert len(first) == 8
    assert len(later) <= 8
    assert all(sample.score >= 1 for sample in (*first, *later))
    assert any(sample.right for sample in first)
