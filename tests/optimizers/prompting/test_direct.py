"""dspy.GEPA and dspy.MIPROv2 called by hand on rf.PDR: what a user writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dspy
import pytest

import reasonflow as rf
from tests.school import LESSON, TRAIN, VAL, Pupil, Teacher, exact

LONG = "The ledger of the harbour lists its ships. " * 120
"""Long enough to stand in front of what candidates change."""


def test_gepa_takes_any_metric_by_branch_feedback(tmp_path: Path) -> None:
    pupil, teacher = Pupil(), Teacher()
    gepa = dspy.GEPA(
        metric=rf.BranchFeedback(rf.math_equal), reflection_lm=teacher.lm, max_metric_calls=60, num_threads=len(VAL)
    )
    with dspy.context(lm=pupil.lm):
        better = gepa.compile(rf.PDR(widths=(2,)), trainset=TRAIN, valset=VAL)
        assert all(exact(example, better(**example.inputs())) for example in VAL)
        better.save(tmp_path / "pdr.json")
        back: Any = rf.load(tmp_path / "pdr.json")
        assert all(exact(example, back(**example.inputs())) for example in VAL)
    assert any("made 2 branches, which answered: 2 (wrong) × 2." in prompt for prompt in teacher.prompts)


@pytest.mark.parametrize("optimizer", ["gepa", "miprov2"])
def test_what_candidates_have_in_common_stays_in_front(optimizer: str) -> None:
    pupil, teacher = Pupil(), Teacher()
    train, val = (
        [dspy.Example(context=LONG, **e.toDict()).with_inputs("context", "problem") for e in some]
        for some in (TRAIN, VAL)
    )
    program = rf.PDR("context, problem -> answer", widths=(2, 2))
    with dspy.context(lm=pupil.lm):
        if optimizer == "gepa":
            gepa = dspy.GEPA(metric=rf.BranchFeedback(exact), reflection_lm=teacher.lm, max_metric_calls=60)
            better = gepa.compile(program, trainset=train, valset=val)
        else:
            mipro = dspy.MIPROv2(
                metric=exact, prompt_model=teacher.lm, auto=None, num_candidates=2, max_bootstrapped_demos=1,
                max_labeled_demos=0,
            )  # fmt: skip
            better = mipro.compile(program, trainset=train, valset=val, num_trials=2, minibatch=False)
        assert any(LESSON in site.signature.instructions for _, site in better.named_predictors())
        pupil.prompts.clear()
        run = better(**val[2].inputs()).run
    heads = {prompt[: prompt.index(LONG[:40]) + len(LONG)] for prompt in pupil.prompts}
    assert len(heads) == 1, "all branches of all rounds begin with the same text, the context included"
    assert all(prompt.index(LONG[:40]) < prompt.find(LESSON) for prompt in pupil.prompts if LESSON in prompt)
    shared = run.usage.cached_tokens / run.usage.input_tokens
    assert shared > 0.5


def test_gepa_takes_our_metric_without_feedback_too() -> None:
    pupil, teacher = Pupil(), Teacher()
    gepa = dspy.GEPA(metric=rf.math_equal, reflection_lm=teacher.lm, max_metric_calls=40)
    with dspy.context(lm=pupil.lm):
        better = gepa.compile(rf.SelfConsistency(n=2), trainset=TRAIN, valset=VAL)
        assert all(exact(example, better(**example.inputs())) for example in VAL)
    assert any("This trajectory got a score of" in prompt for prompt in teacher.prompts)
