"""What a refinement makes of its drafts: how often it is right by how many of them are, and how often it copies."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from reasonflow.evals.suites.arms import Arm, answer_of, is_right
from reasonflow.evals.suites.calls import Call
from reasonflow.evals.suites.findings import Share
from reasonflow.prompts.canonical import canonical


def last_drafts(calls: Sequence[Call]) -> tuple[Call, ...]:
    """The drafts that the last refinement of PDR was made from: its last step of several branches."""
    nodes = [call.node for call in calls if call.indices]
    return tuple(call for call in calls if call.indices and call.node == nodes[-1]) if nodes else ()


def by_right_drafts(arm: Arm, width: int) -> dict[str, Share]:
    """Accuracy of the runs with so many right drafts, from 0 to all of them."""
    verdicts: dict[int, list[bool]] = defaultdict(list)
    for problem, sample, calls in arm.runs():
        verdicts[sum(is_right(problem, answer_of(draft)) for draft in last_drafts(calls))].append(sample.correct)
    return {str(number): share(verdicts[number]) for number in range(width + 1)}


def copying(arm: Arm) -> dict[str, Any]:
    """Shares of all runs: the answer is one of the drafts', right or wrong, or it is none of theirs."""
    kinds: list[tuple[bool, bool]] = []
    for _, sample, calls in arm.runs():
        theirs = {canonical(answer) for draft in last_drafts(calls) if (answer := answer_of(draft)) is not None}
        kinds.append((sample.answer is not None and canonical(sample.answer) in theirs, sample.correct))
    return {
        "copied": share([copied for copied, _ in kinds]),
        "copied, right": share([copied and right for copied, right in kinds]),
        "copied, wrong": share([copied and not right for copied, right in kinds]),
        "new, right": share([not copied and right for copied, right in kinds]),
        "new, wrong": share([not copied and not right for copied, right in kinds]),
    }


def share(found: Sequence[bool]) -> Share:
    return Share(sum(found) / len(found) if found else None, len(found))
