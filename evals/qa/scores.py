"""All figures of question answering: of one answer, of an evaluation's samples, and their means with intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from reasonflow.errors import InputError
from reasonflow.evals.dataset import Problem
from reasonflow.evals.qa import area, coverage, fanout, hybrid_deep_searcher, squad
from reasonflow.evals.qa.search import Search
from reasonflow.evals.samples import Key, Sample
from reasonflow.evals.statistics import Interval, accuracy, bootstrap

Figures: TypeAlias = dict[str, float]
"""By name. Shares are in 0 to 1; `auc_*` are of F1 in percent, as published; `calls`, `turns`, `tokens` are counts."""

COUNTS = frozenset({"calls", "turns", "tokens", "auc_at", "auc_ac", "auc_al"})
"""Figures that are no shares: a one among them is no success of a trial."""


def measure(problem: Problem, answer: str | None, search: Search | None = None) -> Figures:
    """The figures of one answer; None is an empty one.

    `em`, `f1`, `contains`: as SQuAD counts, over the gold answer and its aliases. `hds_em`, `hds_f1`, `hds_contains`:
    as HybridDeepSearcher counts, of the first gold answer. `loose`, `strict`: FanOutQA's, where the gold answer is
    structured. With a search also `calls`, `turns`, `tokens`, the areas `auc_at`, `auc_ac`, `auc_al` of `hds_f1`, and
    `coverage` of titles and `passage_coverage` of texts, where those are annotated.
    """
    text = answer or ""
    golds = (problem.answer, *problem.aliases)
    structured = problem.grading["answers"] if problem.kind == "listed" else ()
    gold = hybrid_deep_searcher.gold_text(structured[0]) if structured else problem.answer
    figures: Figures = {
        "em": squad.exact_match(text, golds),
        "f1": squad.f1(text, golds),
        "contains": squad.contains(text, golds),
        "hds_em": hybrid_deep_searcher.exact_match(text, gold),
        "hds_f1": hybrid_deep_searcher.f1(text, gold, fanout=bool(structured)),
        "hds_contains": hybrid_deep_searcher.contains(text, gold),
    }
    if structured:
        found = [fanout.find(text, gold) for gold in structured]
        figures["loose"] = max(each.loose for each in found)
        figures["strict"] = any(each.strict for each in found)
    if search is not None:
        figures |= _of_search(problem, search, 100 * figures["hds_f1"])
    return {name: float(value) for name, value in figures.items()}


def measure_all(
    problems: Sequence[Problem], samples: Iterable[Sample], searches: Mapping[Key, Search] | None = None
) -> list[list[Figures]]:
    """The figures of recorded samples: (problems, samples of each), in the order of the problems.

    searches: by problem and number of the sample, as far as known. Samples of other problems raise InputError.
    """
    by_id: dict[str, list[Figures]] = {problem.id: [] for problem in problems}
    known = {problem.id: problem for problem in problems}
    for sample in samples:
        if sample.id not in known:
            raise InputError(
                f"there is no problem {sample.id!r}",
                why="a sample is of it",
                fix="give the problems that were evaluated",
            )
        search = None if searches is None else searches.get(sample.key)
        by_id[sample.id].append(measure(known[sample.id], sample.answer, search))
    return list(by_id.values())


def summarise(figures: Sequence[Sequence[Figures]], *, seed: int = 0) -> dict[str, Interval]:
    """The mean of every figure and its 95 % interval, by name.

    figures: (problems, samples of each). A mean is over problems of the mean over each one's samples, and whole
    problems are resampled. A figure that some samples lack is averaged over those that have it.
    """
    names = dict.fromkeys(name for samples in figures for sample in samples for name in sample)
    return {
        name: _interval(
            name,
            [values for samples in figures if (values := [sample[name] for sample in samples if name in sample])],
            seed,
        )
        for name in names
    }


def _of_search(problem: Problem, search: Search, percent: float) -> Figures:
    turns = len(search.turns)
    figures: Figures = {
        "calls": search.calls,
        "turns": turns,
        "tokens": search.tokens,
        "auc_at": area.auc_at(percent, turns),
        "auc_ac": area.auc_ac(percent, search.calls),
        "auc_al": area.auc_al(percent, search.tokens),
    }
    covered = {
        "coverage": coverage.evidence_coverage(search.titles, problem.evidence),
        "passage_coverage": coverage.passage_coverage(search.texts, problem.evidence),
    }
    return figures | {name: share for name, share in covered.items() if share is not None}


def _interval(name: str, values: Sequence[Sequence[float]], seed: int) -> Interval:
    if name not in COUNTS:
        found = accuracy(values, seed=seed)
        return Interval(found.value, found.low, found.high)
    means = [math.fsum(samples) / len(samples) for samples in values]
    return Interval(math.fsum(means) / len(means), *bootstrap(means, seed=seed))
