"""Two recorded evaluations compared: accuracy, figures at k, tokens and seconds, with paired intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import fsum
from typing import Any

from reasonflow.evals.at_k.figures import AtK, at_k
from reasonflow.evals.at_k.matrix import Figure, SampleMatrix
from reasonflow.evals.at_k.vote_curve import COSTS, Cost, VoteCurve, VotePoint
from reasonflow.evals.compare.pairing import Pairing, paired, warnings
from reasonflow.evals.compare.run_folder import RunFolder
from reasonflow.evals.manifest import changes
from reasonflow.evals.samples import Sample
from reasonflow.evals.statistics import Accuracy, Interval, accuracy, paired_difference
from reasonflow.evals.suites.ratios import ratio_of_totals

AT_K: tuple[Figure, ...] = ("pass", "maj", "mg_pass")


@dataclass(frozen=True, slots=True)
class Figures:
    """A figure at k of both, and how much the other has more."""

    baseline: AtK
    other: AtK
    difference: Interval


@dataclass(frozen=True, slots=True)
class Spent:
    """Means over problems of the means over their samples, and the ratio of their sums; None where nobody counted."""

    baseline: float | None
    other: float | None
    ratio: Interval | None
    """Other ÷ baseline."""


@dataclass(frozen=True, slots=True)
class Change:
    """A problem that came out differently: the mean over its samples, before and now."""

    id: str
    before: float
    now: float
    answers: tuple[str | None, str | None] | None
    """Of the only sample of each; None where one has several."""
    expected: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """A vote over the samples of one run that spends what the other one spends, and how much the other run has more."""

    cost: Cost
    voter: RunFolder
    against: RunFolder
    vote: VotePoint
    accuracy: Accuracy
    difference: Interval
    """`against` minus the vote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How `other` compares to `baseline`."""

    baseline: RunFolder
    other: RunFolder
    pairs: Pairing
    warnings: tuple[str, ...]
    accuracies: tuple[Accuracy, Accuracy]
    """On the common problems."""
    difference: Interval
    figures: tuple[Figures, ...]
    """At 2, 4, 8, ... and at the samples that every common problem has in both; empty for single samples."""
    matched: tuple[Matched, ...]
    spent: dict[str, Spent]
    """By name: sequential_tokens, total_tokens, seconds."""
    changed: tuple[Change, ...]
    settings: tuple[tuple[str, Any, Any], ...]
    """What the manifests differ in: where, baseline, other."""

    @property
    def fixed(self) -> int:
        """Problems that the other does better."""
        return sum(each.now > each.before for each in self.changed)

    @property
    def broken(self) -> int:
        """Problems that the other does worse."""
        return sum(each.now < each.before for each in self.changed)


def compare(baseline: RunFolder, other: RunFolder, *, seed: int = 0) -> Comparison:
    """The comparison on the problems both have. Raises InputError where they may not be compared: see `paired`."""
    pairs = paired(baseline, other)
    first, second = (run.matrix.of(pairs.common) for run in (baseline, other))
    matched = [*_matched(baseline, first, other, second, seed), *_matched(other, second, baseline, first, seed)]
    return Comparison(
        baseline=baseline,
        other=other,
        pairs=pairs,
        warnings=tuple(warnings(baseline, other, pairs)),
        accuracies=(accuracy(first.values(), seed=seed), accuracy(second.values(), seed=seed)),
        difference=paired_difference(second.values(), first.values(), seed=seed),
        figures=tuple(_figures(first, second, seed)),
        matched=tuple(matched),
        spent={
            "sequential_tokens": spent_by(first, second, lambda sample: sample.sequential_tokens),
            "total_tokens": spent_by(first, second, lambda sample: sample.total_tokens),
            "seconds": spent_by(first, second, lambda sample: sample.wall_s),
        },
        changed=tuple(_changed(first, second)),
        settings=tuple(changes(baseline.manifest, other.manifest)),
    )


def ks(least: int) -> list[int]:
    """2, 4, 8, ... and the number itself."""
    return sorted({*(2**power for power in range(1, least.bit_length()) if 2**power <= least), least} - {0, 1})


def _figures(first: SampleMatrix, second: SampleMatrix, seed: int) -> list[Figures]:
    least = min(first.least, second.least)
    found = []
    for figure in AT_K:
        # Stability is of all samples: at fewer it says less, and nothing else.
        for k in ks(least) if figure != "mg_pass" else ks(least)[-1:]:
            values = [[[each.value] for each in of.at(figure, k, seed=seed).values()] for of in (first, second)]
            both = [at_k(of, figure, k, seed=seed) for of in (first, second)]
            found.append(Figures(both[0], both[1], paired_difference(values[1], values[0], seed=seed)))
    return found


def _matched(
    voter: RunFolder, votes: SampleMatrix, against: RunFolder, dearer: SampleMatrix, seed: int
) -> list[Matched]:
    """The first's vote with the tokens of the second, where several samples make one and the second spends more."""
    curve, found = VoteCurve(votes, seed=seed), list[Matched]()
    if curve.most < 2:
        return found
    for cost in COSTS:
        own, tokens = (_mean_of(of, partial(tokens_of, cost=cost)) for of in (votes, dearer))
        if own is None or tokens is None or tokens <= own:
            continue
        vote = curve.matching(cost, tokens)
        if vote is not None:
            values = [[value] for value in vote.values]
            difference = paired_difference(dearer.values(), values, seed=seed)
            found.append(
                Matched(
                    cost=cost,
                    voter=voter,
                    against=against,
                    vote=vote,
                    accuracy=accuracy(values, seed=seed),
                    difference=difference,
                )
            )
    return found


def tokens_of(sample: Sample, cost: Cost) -> int | None:
    """What a sample has spent, of one kind."""
    return sample.total_tokens if cost == "total" else sample.sequential_tokens


def spent_by(first: SampleMatrix, second: SampleMatrix, amount: Callable[[Sample], float | None]) -> Spent:
    """An amount of both, which are of the same problems."""
    pairs = [
        (above, below)
        for id in first.rows
        if (below := _mean(second.rows[id], amount)) is not None
        and (above := _mean(first.rows[id], amount)) is not None
    ]
    ratio = ratio_of_totals([(other, baseline) for baseline, other in pairs]) if pairs else None
    return Spent(_mean_of(first, amount), _mean_of(second, amount), ratio)


def _mean_of(matrix: SampleMatrix, amount: Callable[[Sample], float | None]) -> float | None:
    known = [mean for row in matrix.rows.values() if (mean := _mean(row, amount)) is not None]
    return fsum(known) / len(known) if known else None


def _mean(row: Sequence[Sample], amount: Callable[[Sample], float | None]) -> float | None:
    known = [found for sample in row if (found := amount(sample)) is not None]
    return fsum(known) / len(known) if known else None


def _changed(first: SampleMatrix, second: SampleMatrix) -> list[Change]:
    found = []
    for id, row in first.rows.items():
        now = second.rows[id]
        before, after = (sum(sample.value for sample in each) / len(each) for each in (row, now))
        if before != after:
            answers = (row[0].answer, now[0].answer) if len(row) == len(now) == 1 else None
            found.append(Change(id, before, after, answers, row[0].expected))
    return found
