"""BranchFeedback says what branches did, in programs of all shapes, and keeps out of the way of scores."""

from __future__ import annotations

import re
from typing import Any

import dspy
import pytest

import reasonflow as rf

GOLD = dspy.Example(problem="8 + 5?", answer="13").with_inputs("problem")


def two_of_three(prompt: str, seed: int, index: int) -> str:
    """Every third sample forgets to carry."""
    one, other = map(int, re.findall(r"(\d+) \+ (\d+)\?", prompt)[-1])
    total = one + other - (10 if (seed + index) % 3 == 0 else 0)
    return f"Adding {one} to {other}.\n\\boxed{{{total}}}"


def told(program: rf.Program, site: str, **options: Any) -> list[str]:
    with dspy.context(lm=rf.scripted(two_of_three), trace=[]):
        out = program(problem=GOLD.problem)
        found = rf.BranchFeedback(rf.math_equal, **options)(GOLD, out, list(dspy.settings.trace), site, None)
    assert found.score == float(out.answer == GOLD.answer)
    return str(found.feedback).splitlines()


def test_of_a_vote_it_tells_all_answers_and_which_won() -> None:
    lines = told(rf.SelfConsistency(n=6), "solve")
    assert lines[:3] == ["Score 1.", "The right answer: 13.", "The program answered: 13."]
    assert lines[3] == "The call of solve made 6 branches, which answered: 13 (right) × 4; 3 (wrong) × 2."
    assert lines[4] == "The result agrees with 4 of 6 branches."


def test_of_a_distiller_it_tells_what_it_read_and_whether_the_right_answer_is_in_what_it_wrote() -> None:
    lines = told(rf.PDR(widths=(3,)), "distill")
    assert any(line.startswith("The call of distill read 3 texts as drafts:") for line in lines)
    assert {"It names the right answer.", "It does not name the right answer."} & set(lines)
    assert "Kept in the workspace of refine: 1 of 1." in lines


def test_of_drafts_it_tells_which_a_workspace_kept() -> None:
    lines = told(rf.PDR(widths=(6,), distiller="random_k", k=1), "draft")
    kept = next(line for line in lines if line.startswith("Kept in the workspace of refine"))
    assert re.match(r"Kept in the workspace of refine: [24] of 6, (13 \(right\) × 4|3 \(wrong\) × 2)\.", kept)


def test_every_round_of_a_site_is_told() -> None:
    lines = told(rf.PDR(widths=(3, 2)), "refine")
    assert any(line.startswith("Call 1 of 2 of refine made 2 branches") for line in lines)
    assert any(line.startswith("Call 2 of 2 of refine gave") for line in lines)


def test_what_a_verifier_said_is_told() -> None:
    lines = told(rf.BestOfN(n=3, verifier=lambda inputs, candidate: len(candidate.answer)), "solve")
    assert any(re.fullmatch(r"In the run: eligible: scores: [12], [12], [12]", line) for line in lines)


def test_what_could_not_be_read_is_told() -> None:
    def mumble(prompt: str, seed: int, index: int) -> str:
        return "Hm." if seed % 2 else r"\boxed{13}"

    with dspy.context(lm=rf.scripted(mumble), trace=[]):
        out = rf.SelfConsistency(n=4)(problem=GOLD.problem)
        found = rf.BranchFeedback(rf.math_equal)(GOLD, out, list(dspy.settings.trace), "solve", None)
    assert "made 4 branches, which answered: 13 (right) × 2; nothing that can be read (wrong) × 2." in found.feedback


def test_branches_are_not_judged_where_the_metric_is_dear() -> None:
    assert not any("(right)" in line for line in told(rf.SelfConsistency(n=3), "solve", judge_branches=False))


def test_a_metric_that_wants_more_than_a_branch_has_is_left_alone_with_the_result() -> None:
    def thrifty(gold: Any, pred: Any) -> float:
        return 1.0 if pred.run.usage.calls < 10 else 0.0

    with dspy.context(lm=rf.scripted(two_of_three), trace=[]):
        out = rf.SelfConsistency(n=3)(problem=GOLD.problem)
        found = rf.BranchFeedback(thrifty)(GOLD, out, list(dspy.settings.trace), "solve", None)
    assert "made 3 branches, which answered: 13 × 2; 3." in found.feedback


def test_a_metric_that_fails_on_a_branch_is_told_of() -> None:
    def failing(gold: Any, pred: Any) -> float:
        if not hasattr(pred, "run"):
            raise ValueError("its own")
        return 1.0

    with dspy.context(lm=rf.scripted(two_of_three), trace=[]):
        out = rf.SelfConsistency(n=3)(problem=GOLD.problem)
        found = rf.BranchFeedback(failing)(GOLD, out, list(dspy.settings.trace), "solve", None)
    assert "13 (not judged: ValueError) × 2" in found.feedback


def test_the_metric_s_own_feedback_stands_in_front() -> None:
    def strict(gold: Any, pred: Any, trace: Any, name: Any, inner: Any) -> Any:
        return dspy.Prediction(score=0.5, feedback=f"Show your work, {name}.")

    with dspy.context(lm=rf.scripted(two_of_three), trace=[]):
        out = rf.SelfConsistency(n=3)(problem=GOLD.problem)
        found = rf.BranchFeedback(strict)(GOLD, out, list(dspy.settings.trace), "solve", None)
    assert found.feedback.startswith("Show your work, solve.\nScore 0.5.")


@pytest.mark.parametrize("metric", [rf.math_equal, lambda gold, pred: gold.answer == pred.answer])
def test_for_a_score_it_is_the_metric_itself(metric: Any) -> None:
    assert rf.BranchFeedback(metric)(GOLD, dspy.Prediction(answer="13")) is True
    assert rf.BranchFeedback(metric)(GOLD, dspy.Prediction(answer="12"), None) is False


def test_it_reads_the_traces_of_plain_dspy_too() -> None:
    predictor = dspy.Predict("problem -> answer")
    output = dspy.Prediction(answer="12")
    entry = (predictor, {"problem": GOLD.problem}, output)
    found = rf.BranchFeedback(rf.math_equal)(GOLD, output, [entry], "self", [(object(), entry[1], output)])
    assert "The call of self gave: 12 (wrong)." in found.feedback
