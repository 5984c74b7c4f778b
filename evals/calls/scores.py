"""Figures of answers that are calls or tools: how many of them are right, where not all are."""

from __future__ import annotations

from collections.abc import Sequence

from reasonflow.evals.calls.structure import match
from reasonflow.evals.calls.tools import choose
from reasonflow.evals.dataset import Problem
from reasonflow.evals.qa.scores import Figures, summarise
from reasonflow.evals.samples import Sample
from reasonflow.evals.statistics import Interval


def measure(problem: Problem, answer: str | None) -> Figures:
    """`precision`, `recall` and `f1` of one answer's calls or tools; None is an empty one. Nothing of another kind."""
    if problem.kind == "calls":
        found = match(answer or "", problem.grading["ground_truth"])
        precision = found.matched / found.given if found.given else 0.0
        return {"precision": precision, "recall": found.matched / found.wanted, "f1": found.f1}
    if problem.kind == "tools":
        chosen = choose(answer or "", problem.grading["relevant"])
        return {"precision": chosen.precision, "recall": chosen.recall, "f1": chosen.f1}
    return {}


def figures(problems: Sequence[Problem], samples: Sequence[Sample], seed: int) -> dict[str, Interval] | None:
    """Their means over the samples, with intervals; None where no answer is calls or tools."""
    by_id: dict[str, list[Figures]] = {each.id: [] for each in problems if each.kind in ("calls", "tools")}
    known = {each.id: each for each in problems}
    for sample in samples:
        if sample.id in by_id:
            by_id[sample.id].append(measure(known[sample.id], sample.answer))
    return summarise(list(by_id.values()), seed=seed) if by_id else None
