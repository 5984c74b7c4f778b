"""How far a run is: counts by step, from events in every order that they come in."""

from __future__ import annotations

import dspy

import reasonflow as rf
from reasonflow.runtime.ambient import surrounded
from reasonflow.runtime.events import Answer, BranchEnded, BranchStarted, Cancelled, Token
from reasonflow.runtime.progress import Progress, Step


def test_each_step_counts_its_branches_and_tokens() -> None:
    progress = Progress()
    assert progress(BranchStarted(at_s=0, node="draft", indices=(0,), input_tokens=5)) is True
    assert progress(BranchStarted(at_s=0, node="draft", indices=(1,), input_tokens=5)) is False
    progress(Token(at_s=0, node="draft", indices=(0,), text="a"))
    progress(Token(at_s=0, node="draft", indices=(1,), text="b"))
    assert progress.steps() == (Step("draft", running=2, tokens=2),)
    progress(
        BranchEnded(at_s=1, node="draft", indices=(0,), text="a b", input_tokens=5, cached_tokens=0, output_tokens=2)
    )
    progress(Cancelled(at_s=1, node="draft", indices=(1,), output_tokens=1, tokens_saved=9))
    progress(Answer(at_s=1, node="answer", value="42"))
    assert progress.steps() == (Step("draft", ended=1, cancelled=1, tokens=3),)
    assert progress.answer == "42"
    assert progress.done() == "1 ended, 1 cancelled, 3 tokens"


def test_a_replayed_branch_ends_without_having_begun() -> None:
    progress = Progress()
    ended = {"text": "a", "input_tokens": 5, "cached_tokens": None, "output_tokens": 4, "replayed": True}
    progress(BranchEnded(at_s=0, node="draft", indices=(0,), **ended))
    assert progress.steps() == (Step("draft", ended=1, tokens=4),)


def test_its_sums_are_the_records() -> None:
    progress = Progress()
    with dspy.context(lm=rf.scripted("so so \\boxed{5}")), surrounded(watch=progress, streamed=True):
        run = rf.PDR(widths=(4, 2))(problem="p").run
    assert sum(step.ended for step in progress.steps()) == run.usage.calls
    assert sum(step.tokens for step in progress.steps()) == run.usage.output_tokens
    assert [step.node for step in progress.steps()] == list(dict.fromkeys(span.node for span in run.spans))
