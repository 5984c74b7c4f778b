"""What a sweep found: each point's figures, and self-consistency as the line to beat at the same tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reasonflow.evals.at_k.figures import AtK, at_k
from reasonflow.evals.at_k.matrix import SampleMatrix
from reasonflow.evals.at_k.vote_curve import COSTS, Cost, VoteCurve, VotePoint
from reasonflow.evals.compare.comparison import ks
from reasonflow.evals.compare.json import accuracy_json
from reasonflow.evals.samples import Sample
from reasonflow.evals.statistics import CONFIDENCE, Accuracy, Interval, accuracy, paired_difference


@dataclass(frozen=True, slots=True)
class AtEqualTokens:
    """Self-consistency with the tokens of a point."""

    vote: VotePoint
    accuracy: Accuracy
    difference: Interval
    """The point minus the vote, paired by problem."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A point of the curve."""

    name: str
    place: tuple[str, ...]
    accuracy: Accuracy
    sequential_tokens: float | None
    total_tokens: float | None
    seconds: float
    """Mean of a run, while others ran beside it."""
    runs: int
    errors: int
    """Runs that failed; they count as wrong."""
    cut: int
    """Runs cut by their budget."""
    squeezed: int
    """Runs that came to their end with less than their program asks for: a budget left no more."""
    against: Mapping[Cost, AtEqualTokens | None]
    """The line at its total and at its sequential tokens; None where one sample of the line spends more, or without a
    line."""
    out: str
    """The folder of its evaluation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinePoint:
    """Self-consistency at one number of samples."""

    samples: int
    figure: AtK
    sequential_tokens: float | None
    total_tokens: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """The whole sweep."""

    axes: tuple[str, ...]
    """What varies, in the grid's order."""
    points: tuple[Measured, ...]
    line: tuple[LinePoint, ...]
    """Empty where none was asked for."""
    drawn: int
    """Samples a problem that all of the line is out of."""
    line_out: str

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "axes": list(self.axes),
            "confidence": CONFIDENCE,
            "points": [point_json(point) for point in self.points],
            "line": {
                "program": "self_consistency",
                "drawn": self.drawn,
                "reused": "every point of the line is out of the same samples",
                "points": [_line_point(point) for point in self.line],
                "out": self.line_out,
            }
            if self.line
            else None,
        }


def measured(
    name: str, place: tuple[str, ...], samples: Sequence[Sample], out: str, curve: VoteCurve | None, seed: int
) -> Measured:
    """The figures of a point's samples, which are of the line's problems."""
    verdicts: dict[str, list[float]] = {}
    for sample in samples:
        verdicts.setdefault(sample.id, []).append(sample.value)
    tokens = {"total": mean(s.total_tokens for s in samples), "sequential": mean(s.sequential_tokens for s in samples)}
    return Measured(
        name=name,
        place=place,
        accuracy=accuracy(list(verdicts.values()), seed=seed),
        sequential_tokens=tokens["sequential"],
        total_tokens=tokens["total"],
        seconds=mean(sample.wall_s for sample in samples) or 0.0,
        runs=len(samples),
        errors=sum(bool(sample.error) and not sample.cut for sample in samples),
        cut=sum(bool(sample.cut) for sample in samples),
        squeezed=sum(sample.squeezed and not sample.cut for sample in samples),
        against={cost: _against(verdicts, curve, cost, tokens[cost], seed) for cost in COSTS},
        out=out,
    )


def line_of(curve: VoteCurve) -> tuple[LinePoint, ...]:
    """The line at 1, 2, 4, ... samples and at all of them."""
    matrix: SampleMatrix = curve.matrix
    return tuple(
        LinePoint(
            samples=n,
            figure=at_k(matrix, "maj", n, seed=curve.seed),
            sequential_tokens=curve.at(n).sequential_tokens,
            total_tokens=curve.at(n).total_tokens,
        )
        for n in (1, *ks(curve.most))
    )


def mean(values: Iterable[float | None]) -> float | None:
    """Of those that are known; None of none."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _against(
    verdicts: Mapping[str, list[float]], curve: VoteCurve | None, cost: Cost, tokens: float | None, seed: int
) -> AtEqualTokens | None:
    vote = None if curve is None or tokens is None else curve.matching(cost, tokens)
    if curve is None or vote is None:
        return None
    values = [[value] for value in vote.values]
    own = [verdicts[id] for id in curve.matrix.rows]
    return AtEqualTokens(vote, accuracy(values, seed=seed), paired_difference(own, values, seed=seed))


def point_json(point: Measured) -> dict[str, Any]:
    """Plain JSON."""
    return {
        "name": point.name,
        "place": list(point.place),
        "accuracy": accuracy_json(point.accuracy),
        "sequential_tokens": _rounded(point.sequential_tokens),
        "total_tokens": _rounded(point.total_tokens),
        "seconds": round(point.seconds, 4),
        "runs": point.runs,
        "errors": point.errors,
        "cut": point.cut,
        "squeezed": point.squeezed,
        **{f"vote_at_equal_{cost}": found and _equal(found) for cost, found in point.against.items()},
        "out": point.out,
    }


def _equal(found: AtEqualTokens) -> dict[str, Any]:
    return {
        "samples": round(found.vote.samples, 4),
        "spends_less": found.vote.short,
        "accuracy": accuracy_json(found.accuracy),
        "difference": found.difference.to_json(),
        **({"monte_carlo_error": round(found.vote.error, 6)} if found.vote.error else {}),
    }


def _line_point(point: LinePoint) -> dict[str, Any]:
    tokens = {
        "sequential_tokens": _rounded(point.sequential_tokens),
        "total_tokens": _rounded(point.total_tokens),
    }
    return {"samples": point.samples, **point.figure.to_json(), **tokens}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
