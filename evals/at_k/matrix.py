"""The sample matrix: problems by samples, and what k samples of each problem would give."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Literal, TypeAlias, get_args

from reasonflow.errors import InputError
from reasonflow.evals.at_k.best_of import best_of_at
from reasonflow.evals.at_k.majority import Expected, majority_at
from reasonflow.evals.at_k.passing import g_pass_at, mg_pass_at, pass_at
from reasonflow.evals.samples import Key, Sample
from reasonflow.prompts.canonical import canonical

Figure: TypeAlias = Literal["mean", "pass", "maj", "g_pass", "mg_pass", "best_of"]
FIGURES: tuple[Figure, ...] = get_args(Figure)
SHARE = 0.5
"""Of the samples that G-Pass@k wants right, where nothing else is said."""


@dataclass(frozen=True, slots=True)
class SampleMatrix:
    """Samples of each problem. They are alike: no sample of a problem is told from another by its place."""

    rows: Mapping[str, tuple[Sample, ...]]
    """By the problem's id; rows may differ in length where an evaluation is not finished."""
    scores: Mapping[Key, float | None] = field(default_factory=dict)
    """A verifier's score of a sample; None, or nothing, where it has none."""

    @property
    def least(self) -> int:
        """Samples that every problem has."""
        return min(map(len, self.rows.values()), default=0)

    @property
    def most(self) -> int:
        """Samples of the problem that has most."""
        return max(map(len, self.rows.values()), default=0)

    def of(self, ids: Iterable[str]) -> SampleMatrix:
        """The rows of these problems, in that order."""
        return SampleMatrix({id: self.rows[id] for id in ids}, self.scores)

    def values(self) -> list[list[float]]:
        """(problems, samples of each): what each is worth, 1 or 0 or a metric's score."""
        return [[sample.value for sample in row] for row in self.rows.values()]

    def at(self, figure: Figure, k: int, *, share: float = SHARE, seed: int = 0) -> dict[str, Expected]:
        """The figure of every problem that has `k` samples at least, by its id.

        share: of g_pass. seed: of the subsets of `maj` where it draws them; each problem draws its own.
        Raises InputError for an unknown figure, for a k that no problem has, and for best_of without scores.
        """
        if figure not in FIGURES:
            raise InputError(f"unknown figure {figure!r}", fix=f"name one of {', '.join(FIGURES)}")
        if not 1 <= k <= self.most:
            raise InputError(f"{figure}@{k} of {self.most} samples a problem", fix=f"take k from 1 to {self.most}")
        if figure == "best_of" and not self.scores:
            raise InputError("best_of needs a verifier's scores", fix="make the matrix with scores={(id, sample): ...}")
        return {id: self._of(row, figure, k, share, seed) for id, row in self.rows.items() if len(row) >= k}

    def _of(self, row: tuple[Sample, ...], figure: Figure, k: int, share: float, seed: int) -> Expected:
        values, right, drawn = [sample.value for sample in row], sum(sample.correct for sample in row), len(row)
        match figure:
            case "mean":  # over all subsets of k: the mean over the row, whatever k is
                return Expected(sum(values) / drawn)
            case "pass":
                return Expected(pass_at(right, drawn, k))
            case "g_pass":
                return Expected(g_pass_at(right, drawn, k, share))
            case "mg_pass":
                return Expected(mg_pass_at(right, drawn, k))
            case "maj":
                return majority_at([_ballot(sample) for sample in row], values, k, seed=(seed, _number(row[0].id)))
            case "best_of":
                return Expected(best_of_at(values, [self.scores.get(sample.key) for sample in row], k))


def matrix_of(samples: Iterable[Sample], scores: Mapping[Key, float | None] | None = None) -> SampleMatrix:
    """The matrix of an evaluation's samples, in the order in which their problems come first."""
    rows: dict[str, list[Sample]] = {}
    for sample in samples:
        rows.setdefault(sample.id, []).append(sample)
    return SampleMatrix({id: tuple(row) for id, row in rows.items()}, scores or {})


def _ballot(sample: Sample) -> str | None:
    """As `SelfConsistency` counts it."""
    return canonical(sample.answer) if sample.answer else None


def _number(id: str) -> int:
    """Problems draw subsets of their own: equal ones would err together, and no mean over problems would help."""
    return int.from_bytes(blake2b(id.encode(), digest_size=8).digest())
