"""tune_prompts on scripted engines: DSPy's optimizers improve programs, on a budget that is kept, and go on."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import dspy
import pytest

import reasonflow as rf
from reasonflow.errors import BudgetExceeded, InputError, RunError, UnknownName
from reasonflow.optimizers.prompting.optimizers import BY
from reasonflow.optimizers.prompting.standings import PromptStep
from reasonflow.optimizers.prompting.tuning import tune_prompts
from tests.school import LESSON, TRAIN, VAL, Pupil, Teacher, exact

PLENTY = rf.Budget(calls=600)
every_optimizer = pytest.mark.parametrize("by", BY)


class Tuned:
    """One call of tune_prompts, and what its models were asked."""

    def __init__(self, by: Any = "gepa", *, budget: rf.Budget = PLENTY, mute: int = 0, **options: Any) -> None:
        self.pupil, self.teacher, self.steps = Pupil(), Teacher(mute), list[PromptStep]()
        given: dict[str, Any] = {
            "program": rf.PDR(widths=(2,)), "trainset": TRAIN, "metric": exact, "valset": VAL,
            "reflection_lm": self.teacher.lm, "lm": self.pupil.lm, "on_step": self.steps.append,
        }  # fmt: skip
        self.program: Any = tune_prompts(by=by, budget=budget, **{**given, **options})
        self.report: Any = self.program.compile_report

    @property
    def asked(self) -> int:
        return len(self.pupil.prompts) + len(self.teacher.prompts)

    @property
    def accuracy(self) -> float:
        rows = {row["number"]: row["accuracy"] for row in self.report["candidates"]}
        return float(rows[self.report["chosen"]])


def solved(program: rf.Program) -> float:
    pupil = Pupil()
    with dspy.context(lm=pupil.lm):
        return sum(exact(example, program(**example.inputs())) for example in VAL) / len(VAL)


@every_optimizer
@pytest.mark.parametrize("make", [lambda: rf.SelfConsistency(n=3), lambda: rf.PDR(widths=(2,))])
def test_an_optimizer_improves_a_program_whose_answers_depend_on_its_prompts(by: str, make: Any) -> None:
    program = make()
    tuned = Tuned(by, program=program)
    assert tuned.report["candidates"][0]["accuracy"] == 0.5
    assert tuned.accuracy == solved(tuned.program) == 1.0
    assert solved(program) == 0.5, "the program that was given stays as it is"
    sites = dict(tuned.program.named_predictors())
    assert any(site.demos or LESSON in site.signature.instructions for site in sites.values())
    assert [step.accuracy for step in tuned.steps][-1] == 1.0
    assert tuned.asked == tuned.report["spent"]["calls"]


@every_optimizer
@pytest.mark.parametrize("limits", [{"calls": 30}, {"calls": 61}, {"total": 4_000}, {"calls": 200}])
def test_the_budget_is_never_exceeded_by_all_models_together(by: str, limits: dict[str, int]) -> None:
    tuned = Tuned(by, budget=rf.Budget(**limits), mute=3)
    spent = tuned.report["spent"]
    assert tuned.asked <= spent["calls"]
    assert all(spent[name] <= limit for name, limit in limits.items())
    assert tuned.accuracy >= 0.5


@every_optimizer
def test_the_same_call_again_asks_nothing_and_a_larger_budget_goes_on(by: str, tmp_path: Path) -> None:
    small, large = rf.Budget(calls=60), rf.Budget(calls=400)
    first = Tuned(by, budget=small, out=tmp_path)
    again = Tuned(by, budget=small, out=tmp_path)
    assert first.asked > 24
    if by == "simba":  # its threads meet the end of the budget in any order, and may find room that was left
        assert first.asked + again.asked <= 60
    else:
        assert again.asked == 0
        assert again.report["chosen"] == first.report["chosen"]
    assert again.report["spent"]["calls"] == first.asked + again.asked
    more = Tuned(by, budget=large, out=tmp_path)
    assert more.accuracy == 1.0
    assert first.asked + again.asked + more.asked == more.report["spent"]["calls"]


def test_equal_seeds_give_equal_prompts() -> None:
    first, second = Tuned("miprov2", seed=3, mute=2), Tuned("miprov2", seed=3, mute=2)
    assert first.report["candidates"] == second.report["candidates"]


def test_a_batch_is_in_flight_together() -> None:
    slow = Pupil(latency=0.05)  # as an engine is: a thread has begun before another one's run has ended
    assert Tuned("gepa", lm=slow.lm).report["most_in_flight"] == len(VAL)
    assert Tuned("gepa", lm=slow.lm, concurrency=2).report["most_in_flight"] == 2


def test_what_bootstrapping_needs_in_any_case_is_run_together_and_only_once() -> None:
    tuned = Tuned("bootstrap", valset=VAL[1:3])
    assert tuned.report["most_in_flight"] == len(TRAIN) > 2
    assert tuned.asked == 4 * (2 + len(TRAIN) + 2)


def test_the_reflecting_model_is_told_of_branches_and_what_was_kept() -> None:
    tuned = Tuned("gepa")
    [told] = [prompt for prompt in tuned.teacher.prompts if "made 2 branches" in prompt][:1]
    assert "The right answer: 12." in told
    assert "2 (wrong) × 2" in told
    assert "Kept in the workspace of refine: 2 of 2" in told


def test_nothing_is_spent_on_a_program_that_makes_no_mistake() -> None:
    easy = [example for example in VAL if len(example.answer) == 1]
    tuned = Tuned("gepa", valset=easy)
    assert tuned.report["stopped"] == "no mistake is left on the valset"
    assert tuned.teacher.prompts == []
    assert tuned.asked == 4 * len(easy)


def test_the_artifact_is_the_best_program(tmp_path: Path) -> None:
    tuned = Tuned("gepa", out=tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        back: Any = rf.load(tmp_path / "pdr.json")
    assert solved(back) == 1.0
    assert back.compile_report["chosen"] == tuned.report["chosen"]
    with pytest.raises(InputError, match="no front"):
        back.front


def test_rf_compile_tunes_prompts() -> None:
    pupil, teacher = Pupil(), Teacher()
    program = rf.compile(
        rf.PDR(widths=(2,)), TRAIN, exact, valset=VAL, budget=PLENTY, optimize=("prompts",), lm=pupil.lm,
        reflection_lm=teacher.lm,
    )  # fmt: skip
    assert solved(program) == 1.0


def test_without_a_reflecting_model_the_program_s_own_reflects_and_that_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Both(Pupil):
        def answer(self, prompt: str, seed: int | None, index: int) -> str:
            if "Respond with" in prompt:
                return Teacher().answer(prompt, seed, index)
            return super().answer(prompt, seed, index)

    tuned = Tuned("gepa", lm=Both().lm, reflection_lm=None, show_progress=True)
    assert tuned.accuracy == 1.0
    captured = capsys.readouterr()
    assert "scripted reflects, the program's own model" in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(("by", "said"), [("miprov2", "miprov2 ended in"), ("gepa", "gepa tried no prompts")])
def test_a_model_that_cannot_reflect_ends_it_with_the_reason(by: str, said: str) -> None:
    class Mumbler(Teacher):
        def answer(self, prompt: str, seed: int | None, index: int) -> str:
            self.prompts.append(prompt)
            return "Hm."

    mumbler = Mumbler()
    with pytest.raises(RunError, match=said):
        Tuned(by, reflection_lm=mumbler.lm)
    assert len(mumbler.prompts) <= 20


def test_a_program_that_cannot_be_measured_whole_is_said(tmp_path: Path) -> None:
    with pytest.raises(BudgetExceeded, match="not measured on all 6 examples"):
        Tuned(budget=rf.Budget(total=1_250), out=tmp_path)
    assert Tuned(budget=PLENTY, out=tmp_path).accuracy == 1.0


def broken(example: Any, out: Any) -> float:
    raise ValueError("no such field")


def constant(example: Any, out: Any) -> float:
    return 0.0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"metric": broken}, "the metric raised ValueError: no such field"),
        ({"metric": lambda example, out: None}, "the metric gave None"),
        ({"trainset": []}, "trainset is empty"),
        ({"trainset": [TRAIN[0], TRAIN[0]]}, "have the same inputs"),
        ({"valset": TRAIN[:2]}, "stands in trainset"),
        ({"trainset": TRAIN[:1], "valset": None}, "cannot be learnt from and measured on"),
        ({"budget": rf.Budget(calls=23)}, "one evaluation takes up to 24 calls"),
        ({"budget": rf.Budget(total=700)}, "one evaluation takes 1,188 tokens at least"),
        ({"budget": rf.Budget()}, "needs a budget"),
        ({"budget": rf.Budget(sequential=100)}, "limits sequential tokens"),
        ({"reflection_lm": "gpt"}, "is no language model"),
        ({"program": dspy.Predict("problem -> answer")}, "cannot be tuned"),
    ],
)
def test_bad_input_is_refused_before_anything_is_spent(options: dict[str, Any], said: str) -> None:
    pupil, teacher = Pupil(), Teacher()
    with pytest.raises(InputError, match=said):
        Tuned(lm=pupil.lm, **{"reflection_lm": teacher.lm, **options})
    assert pupil.prompts == teacher.prompts == []


def test_a_metric_that_is_constant_is_said() -> None:
    with pytest.raises(InputError, match="gave 0 for each of the 6 examples"):
        Tuned(metric=constant)


def test_unknown_optimizers_are_answered_with_the_known_ones() -> None:
    with pytest.raises(UnknownName, match="gepa"):
        Tuned("copro")


def test_a_metric_may_be_asynchronous() -> None:
    async def later(example: Any, out: Any) -> bool:
        return bool(example.answer == out.answer)

    assert Tuned("bootstrap", metric=later).accuracy == 1.0
    assert Tuned("gepa", metric=later).accuracy == 1.0
