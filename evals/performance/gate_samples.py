"""Labelled scores to try a gate on: rows of a file, or draws from a population whose risk is known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import NormalDist

from reasonflow.errors import InputError
from reasonflow.evals.dataset import read_rows
from reasonflow.optimizers.gates import Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """Scores of wrong and of right answers are normal with deviation 1, those of right ones higher by `apart`."""

    wrong: float = 0.3
    """Share of wrong answers; above 0, below 1."""
    apart: float = 1.5

    def __post_init__(self) -> None:
        if not 0 < self.wrong < 1:
            raise InputError(f"a share of {self.wrong:g} wrong answers", fix="give a share above 0 and below 1")
        if not math.isfinite(self.apart):
            raise InputError(f"scores that are {self.apart} apart", fix="give a finite number")

    def draw(self, count: int, random: Random) -> list[Sample]:
        rights = [random.random() >= self.wrong for _ in range(count)]
        return [Sample(random.gauss(self.apart * right, 1), right) for right in rights]

    def risk(self, threshold: float) -> float:
        """Of a threshold: the share of wrong answers among all that pass it."""
        above = NormalDist().cdf
        wrong, right = self.wrong * above(-threshold), (1 - self.wrong) * above(self.apart - threshold)
        return wrong / (wrong + right) if wrong + right else 0.0


def read_samples(file: Path) -> list[Sample]:
    """Rows with `score`, a number or null where there is none, and `right`. Raises InputError naming file and line."""
    samples = [_sample(row.get("score", ...), row.get("right"), f"{file}:{line}") for line, row in read_rows(file)]
    if not samples:
        raise InputError(f"{file} holds no samples", fix='write one JSON object a line: {"score": 0.8, "right": true}')
    return samples


def _sample(score: object, right: object, where: str) -> Sample:
    number = math.nan if score is None else score
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not isinstance(right, bool):
        raise InputError(
            f"{where}: no labelled score",
            why=f"score is {'missing' if score is ... else repr(score)}, right is {right!r}",
            fix='write one JSON object a line: {"score": 0.8, "right": true}; a score of null passes nothing',
        )
    return Sample(float(number), right)
