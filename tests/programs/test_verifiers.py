"""Verifiers by themselves, and as DSPy sees them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import dspy
import pytest
from dspy.utils.dummies import DummyLM

import reasonflow as rf
from reasonflow.errors import RunError
from reasonflow.programs.verifiers import Rule, Verifier, YesProbability, as_score, as_verifier
from reasonflow.prompts.verdict import NO_LOGPROBS


def script(prompt: str, seed: int | None, index: int) -> Any:
    return {"Yes": 0.6, "No": 0.2} if "Yes or No" in prompt else rf"\boxed{{{index}}}"


def test_all_of_them_are_verifiers() -> None:
    for verifier in (Rule(len), YesProbability(), rf.RewardModel("nowhere")):
        assert isinstance(verifier, Verifier)
        assert as_verifier(verifier) is verifier


def test_a_rule_may_be_async() -> None:
    async def rule(inputs: Any, candidate: Any) -> bool:
        await asyncio.sleep(0)
        return bool(candidate.answer == "1")

    with dspy.context(lm=rf.scripted(script)):
        assert rf.BestOfN(n=3, verifier=rule)(problem="x").answer == "1"


@pytest.mark.parametrize(("value", "score"), [(True, 1.0), (False, 0.0), (3, 3.0), (0.5, 0.5)])
def test_what_counts_as_a_score(value: Any, score: float) -> None:
    assert as_score(value) == score


@pytest.mark.parametrize("value", [None, "0.5", [1], float("nan")])
def test_what_does_not(value: Any) -> None:
    with pytest.raises(RunError, match="a rule gave"):
        as_score(value)


def test_optimizers_find_and_teach_the_judging_site() -> None:
    program = rf.BestOfN(n=2)
    assert [name for name, _ in program.named_predictors()] == ["solve", "verifier.judge"]
    trainset = [dspy.Example(problem=f"{number}?", answer="0").with_inputs("problem") for number in range(3)]
    with dspy.context(lm=rf.scripted(script)):
        taught = dspy.BootstrapFewShot(
            metric=lambda example, out, trace=None: out.answer == example.answer, max_bootstrapped_demos=2
        ).compile(program, trainset=trainset)
        assert taught(problem="new?").answer == "0"
    demos = taught.verifier.judge.demos
    assert [demo.score for demo in demos if "score" in demo] == pytest.approx([0.75] * 2)
    assert all("candidate" in demo for demo in demos if "score" in demo)


def test_a_judge_can_be_asked_by_itself_and_saved_with_its_program(tmp_path: Path) -> None:
    judge = YesProbability("problem -> answer", question="Is it even?")
    with dspy.context(lm=rf.scripted(script)):
        assert judge(problem="x", candidate="2").score == pytest.approx(0.75)
        rf.BestOfN(n=2, verifier=judge).save(tmp_path / "program.json")
        loaded = rf.load(tmp_path / "program.json")
        assert loaded(problem="x").answer == "0"
    assert loaded.verifier.judge.signature.instructions == "Is it even?"


def test_on_a_language_model_without_log_probabilities_the_word_decides() -> None:
    with dspy.context(lm=DummyLM([{"said": "Yes"}])):
        out = YesProbability()(problem="x", candidate="2")
    assert out.score == 1.0
    assert out.run.repairs == [f"judge: {NO_LOGPROBS}"]


def test_the_judge_has_a_model_and_settings_of_its_own() -> None:
    judge = rf.scripted({"Yes": 0.9, "No": 0.1})
    program = rf.BestOfN(n=2, verifier=YesProbability(question="Is it even?", config={"max_tokens": 9}))
    program.verifier.judge.lm = judge
    with dspy.context(lm=rf.scripted(r"\boxed{4}")):
        out = program(problem="x")
    assert out.run.notes == ["eligible: scores: 0.9, 0.9"]
    assert "Is it even?" in program.verifier.judge.signature.instructions
    assert {span.max_tokens for span in out.run.spans if span.node.endswith("judge")} == {9}


def test_fields_of_the_signature_keep_their_names() -> None:
    program = rf.BestOfN("candidate, score -> answer", n=2)
    assert list(program.verifier.judge.signature.fields) == ["candidate", "score", "candidate_2", "score_2"]
    with dspy.context(lm=rf.scripted(script)):
        assert program(candidate="Ada", score="3").answer == "0"


def test_a_verifier_with_a_site_of_its_own() -> None:
    class Rated(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rate = rf.Generate("problem, attempt -> points: int", style="fields")

        def scores(self, inputs: Any, candidates: Any) -> Any:
            return rf.each(candidates, lambda one: self.rate(**inputs, attempt=one.text).points)

    def rated(prompt: str, seed: int | None, index: int) -> str:
        if "points" in prompt:
            points = 9 if r"\boxed{1}" in prompt else 2
            return f"[[ ## points ## ]]\n{points}\n\n[[ ## completed ## ]]"
        return rf"\boxed{{{index}}}"

    with dspy.context(lm=rf.scripted(rated)):
        assert rf.BestOfN(n=3, verifier=Rated())(problem="x").answer == "1"
