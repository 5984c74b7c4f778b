"""What is said about a refinement and its drafts."""

from __future__ import annotations

from reasonflow.evals.dataset import Problem
from reasonflow.evals.runner import Evaluation
from reasonflow.evals.samples import Sample
from reasonflow.evals.suites.arms import Arm
from reasonflow.evals.suites.calls import Call
from reasonflow.evals.suites.drafts import by_right_drafts, copying, last_drafts
from reasonflow.evals.suites.findings import Share


def call(node: str, answer: str, *indices: int) -> Call:
    return Call(node=node, indices=indices, text=f"\\boxed{{{answer}}}", input_tokens=1, output_tokens=1)


def arm(*runs: tuple[str, tuple[str, ...]]) -> Arm:
    """Runs on problems whose answer is 1: what each gave, and its drafts."""
    problems = [Problem(id=str(number), inputs={}, answer="1") for number in range(len(runs))]
    samples = tuple(
        Sample(id=str(number), sample=0, seed=0, answer=given, expected="1", correct=given == "1")
        for number, (given, _) in enumerate(runs)
    )
    calls = {
        (str(number), 0): tuple(call("draft", draft, place) for place, draft in enumerate(drafts))
        for number, (_, drafts) in enumerate(runs)
    }
    return Arm(problems, Evaluation(samples=samples, resumed=0, planned=len(runs)), calls)


def test_the_last_drafts_are_those_of_the_last_round() -> None:
    rounds = (call("draft", "1", 0), call("draft", "2", 1), call("distill", "", ), call("refine", "3", 0),
              call("refine", "4", 1), call("distill#2", ""), call("refine#2", "5"))  # fmt: skip
    assert [draft.text for draft in last_drafts(rounds)] == ["\\boxed{3}", "\\boxed{4}"]
    assert last_drafts(()) == ()


def test_accuracy_stands_under_the_number_of_right_drafts() -> None:
    found = by_right_drafts(arm(("1", ("1", "2")), ("2", ("1", "2")), ("1", ("3", "2"))), 2)
    assert found == {"0": Share(1.0, 1), "1": Share(0.5, 2), "2": Share(None, 0)}


def test_every_run_is_copied_or_new_and_right_or_wrong() -> None:
    found = copying(arm(("1", ("1", "2")), ("2", ("1", "2")), ("1", ("3", "2")), ("9", ("3", "2"))))
    assert {kind: share.value for kind, share in found.items()} == {
        "copied": 0.5,
        "copied, right": 0.25,
        "copied, wrong": 0.25,
        "new, right": 0.25,
        "new, wrong": 0.25,
    }
