"""DSPy's optimizers work on our programs: what they change reaches the prompts, and the scores follow."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dspy
import pytest

import reasonflow as rf
from reasonflow.errors import EqualSignatures
from reasonflow.language.refs import Ref
from tests.school import LESSON, Pupil, Teacher


class TwoSteps(rf.Program):
    """An outline, and a solution that reads it."""

    def __init__(self) -> None:
        self.outline = rf.Generate("problem -> outline", style="text")
        self.solve = rf.Generate("problem, outline -> answer")

    def plan(self, problem: Ref) -> Any:
        return rf.answer(self.solve(problem=problem, outline=self.outline(problem=problem).text))


PROGRAMS: dict[str, Callable[[], rf.Program]] = {
    "chain_of_thought": rf.ChainOfThought,
    "self_consistency": lambda: rf.SelfConsistency(n=3),
    "pdr": lambda: rf.PDR(widths=(2,)),
    "two_steps": TwoSteps,
}
every_program = pytest.mark.parametrize("make", PROGRAMS.values(), ids=PROGRAMS)


@pytest.fixture(autouse=True)
def nothing_is_swallowed(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """DSPy logs what it catches and counts it as a score of 0."""
    yield
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert [text for text in told if "The text holds no answer" not in text] == []


def examples(*sums: tuple[int, int]) -> list[dspy.Example]:
    return [dspy.Example(problem=f"{a} + {b}?", answer=str(a + b)).with_inputs("problem") for a, b in sums]


SMALL = examples((1, 2), (2, 2), (3, 4), (4, 4))
LARGE = examples((5, 7), (8, 6), (9, 9), (7, 6))


def exact(example: dspy.Example, out: Any, trace: Any = None) -> float:
    return float(example.answer == out.answer)


def score(program: dspy.Module, pupil: Pupil) -> float:
    with dspy.context(lm=pupil.lm):
        evaluate = dspy.Evaluate(devset=SMALL + LARGE, metric=exact, num_threads=4, display_progress=False)
        return float(evaluate(program).score)


@every_program
def test_bootstrapped_demos_reach_the_prompts(make: Callable[[], rf.Program]) -> None:
    pupil, program = Pupil(), make()
    assert score(program, pupil) == 50.0
    with dspy.context(lm=pupil.lm):
        optimizer = dspy.BootstrapFewShot(metric=exact, max_bootstrapped_demos=2, max_labeled_demos=0)
        taught = optimizer.compile(program, trainset=SMALL)
    for _, site in taught.named_predictors():
        assert [demo.augmented for demo in site.demos] == [True, True]
        assert "Adding 1 to 2." in str(site.demos[0].toDict())
    pupil.prompts.clear()
    assert score(taught, pupil) == 100.0
    assert all("Adding 1 to 2." in prompt and "Adding 2 to 2." in prompt for prompt in pupil.prompts)
    assert score(program, pupil) == 50.0  # the student is left as it was


@every_program
def test_random_search_keeps_the_best_program_and_it_can_be_saved(make: Callable[[], Any], tmp_path: Path) -> None:
    pupil = Pupil()
    with dspy.context(lm=pupil.lm):
        optimizer = dspy.BootstrapFewShotWithRandomSearch(
            metric=exact, max_bootstrapped_demos=2, max_labeled_demos=0, num_candidate_programs=1, num_threads=2
        )
        best = optimizer.compile(make(), trainset=SMALL, valset=LARGE)
    assert [round(candidate["score"]) for candidate in best.candidate_programs] == [100, 100, 0, 0]
    assert score(best, pupil) == 100.0
    best.save(tmp_path / "best.json")  # the candidates DSPy attached to it are no part of it
    back: Any = rf.load(tmp_path / "best.json", allow=[TwoSteps])
    assert score(back, pupil) == 100.0
    assert [name for name, _ in back.named_predictors()] == [name for name, _ in best.named_predictors()]
    assert back._compiled == best._compiled


@every_program
def test_mipro_proposes_instructions_that_reach_the_prompts(make: Callable[[], rf.Program]) -> None:
    pupil, teacher = Pupil(), Teacher()
    with dspy.context(lm=pupil.lm):
        optimizer = dspy.MIPROv2(
            metric=exact, prompt_model=teacher.lm, task_model=pupil.lm, auto=None, num_candidates=2, num_threads=2,
            max_bootstrapped_demos=0, max_labeled_demos=0,
        )  # fmt: skip
        best = optimizer.compile(make(), trainset=SMALL, valset=LARGE, num_trials=4, minibatch=False)
    assert best.score == 100.0
    assert any(LESSON in site.signature.instructions for _, site in best.named_predictors())
    assert any("proposed_instruction" in prompt for prompt in teacher.prompts)
    pupil.prompts.clear()
    assert score(best, pupil) == 100.0
    assert any(LESSON in prompt for prompt in pupil.prompts)


@every_program
def test_mipro_tries_demos_too(make: Callable[[], rf.Program]) -> None:
    pupil, teacher = Pupil(), Teacher()
    with dspy.context(lm=pupil.lm):
        optimizer = dspy.MIPROv2(
            metric=exact, prompt_model=teacher.lm, task_model=pupil.lm, auto=None, num_candidates=3, num_threads=2,
            max_bootstrapped_demos=2, max_labeled_demos=1,
        )  # fmt: skip
        best = optimizer.compile(make(), trainset=SMALL, valset=LARGE, num_trials=4, minibatch=False)
    assert best.score == 100.0
    assert score(best, pupil) == 100.0


@every_program
def test_gepa_reflects_on_the_right_traces(make: Callable[[], rf.Program]) -> None:
    pupil, teacher = Pupil(), Teacher()
    reflected: list[tuple[str, set[str], set[str]]] = []

    def feedback(example: dspy.Example, out: Any, trace: Any = None, name: Any = None, inner: Any = None) -> Any:
        if name is not None:
            [(_, inputs, outputs)] = inner
            reflected.append((name, set(inputs), set(outputs.keys())))
        right = example.answer == out.answer
        return dspy.Prediction(score=float(right), feedback="Right." if right else f"It is {example.answer}.")

    with dspy.context(lm=pupil.lm):
        optimizer = dspy.GEPA(
            metric=feedback, reflection_lm=teacher.lm, max_metric_calls=60, reflection_minibatch_size=2, num_threads=2,
            track_stats=True,
        )  # fmt: skip
        best = optimizer.compile(make(), trainset=LARGE, valset=LARGE)
    scores = best.detailed_results.val_aggregate_scores
    assert scores[0] == 0.0
    assert max(scores) == 1.0
    changed = [name for name, site in best.named_predictors() if LESSON in site.signature.instructions]
    assert changed
    sites = dict(best.named_predictors())
    assert reflected
    for name, inputs, outputs in reflected:
        assert inputs == set(sites[name].signature.input_fields)
        assert outputs == set(sites[name].signature.output_fields)
    assert any("It is 1" in prompt and "Adding" in prompt for prompt in teacher.prompts)
    assert score(best, pupil) == 100.0


@pytest.mark.parametrize("make", [rf.ChainOfThought, TwoSteps])
def test_gepa_is_told_of_answers_that_cannot_be_read(make: Callable[[], rf.Program]) -> None:
    teacher = Teacher()

    def mumble(prompt: str, seed: int | None, index: int) -> str:
        return "\\boxed{1}" if LESSON in prompt else "Hm. I would say one."

    def feedback(example: dspy.Example, out: Any, trace: Any = None, name: Any = None, inner: Any = None) -> Any:
        return dspy.Prediction(score=exact(example, out), feedback="")

    with dspy.context(lm=rf.scripted(mumble)):
        optimizer = dspy.GEPA(
            metric=feedback, reflection_lm=teacher.lm, max_metric_calls=30, reflection_minibatch_size=2,
            add_format_failure_as_feedback=True, track_stats=True, num_threads=2,
        )  # fmt: skip
        best = optimizer.compile(make(), trainset=examples((1, 0), (0, 1)), valset=examples((1, 0), (0, 1)))
    assert max(best.detailed_results.val_aggregate_scores) == 1.0
    assert LESSON in best.solve.signature.instructions
    assert any("Your output failed to parse" in p and "I would say one" in p for p in teacher.prompts)


@every_program
def test_simba_learns_from_its_own_trajectories(make: Callable[[], rf.Program]) -> None:
    pupil, teacher = Pupil(), Teacher()
    with dspy.context(lm=pupil.lm):
        optimizer = dspy.SIMBA(
            metric=exact, bsize=8, num_candidates=2, max_steps=2, max_demos=2, num_threads=2, prompt_model=teacher.lm
        )
        best = optimizer.compile(make(), trainset=SMALL + LARGE)
    assert score(best, pupil) == 100.0


class Twins(rf.Program):
    """Two call sites that nothing but their names tells apart."""

    def __init__(self) -> None:
        self.first = rf.Generate("problem -> answer")
        self.second = rf.Generate("problem -> answer")

    def plan(self, problem: Ref) -> Any:
        return rf.answer(rf.vote([self.first(problem=problem), self.second(problem=problem)], by="answer"))


def test_equal_signatures_are_warned_of_once_while_an_optimizer_watches() -> None:
    class Again(Twins):
        pass

    class Different(Twins):
        def __init__(self) -> None:
            super().__init__()
            self.second = rf.Generate(dspy.Signature("problem -> answer", "Answer briefly."))

    with dspy.context(lm=rf.scripted("\\boxed{1}")):
        Again()(problem="p")  # nobody watches
        with dspy.context(trace=[]):
            Different()(problem="p")
            with pytest.warns(EqualSignatures, match=r"'first' and 'second' of Again have equal signatures.*GEPA"):
                Again()(problem="p")
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                Again()(problem="p")


def test_a_demo_is_a_branch_that_answered_as_the_vote_did() -> None:
    def two_of_three(prompt: str, seed: int, index: int) -> str:
        one, other = map(int, re.findall(r"(\d+) \+ (\d+)\?", prompt)[-1])
        return rf"Sample {index}. \boxed{{{one + other if index else 0}}}"

    with dspy.context(lm=rf.scripted(two_of_three)):
        optimizer = dspy.BootstrapFewShot(metric=exact, max_bootstrapped_demos=1, max_labeled_demos=0)
        taught = optimizer.compile(rf.SelfConsistency(n=3), trainset=SMALL)
    [demo] = taught.solve.demos
    assert demo.answer == "3"
    assert demo.reasoning.startswith("Sample 1.")
