"""Self-consistency with 1, 2, 3, ... samples, out of one sample matrix: what it scores and what it spends."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import fsum, sqrt
from typing import Literal, TypeAlias

from reasonflow.evals.at_k.best_of import best_of_at
from reasonflow.evals.at_k.matrix import SampleMatrix
from reasonflow.evals.matched_budget import Mix, mix_at
from reasonflow.evals.samples import Sample

Cost: TypeAlias = Literal["total", "sequential"]
COSTS: tuple[Cost, ...] = ("total", "sequential")


@dataclass(frozen=True, slots=True, kw_only=True)
class VotePoint:
    """A vote over n samples, which may lie between two whole numbers."""

    samples: float
    values: tuple[float, ...]
    """(problems,): maj@n of each."""
    total_tokens: float | None
    sequential_tokens: float | None
    error: float
    """Standard error of the mean of the values by Monte-Carlo; 0 where all subsets were counted."""
    short: bool = False
    """Whether it spends less than it was to match."""


class VoteCurve:
    """maj@n of the problems, for n up to the samples that all of them have.

    n samples of one prompt cost its tokens each, as runs count them, and the longest of them is the critical path.
    Every point is a mean over all ways to take n samples: all are out of the same samples, and err together.
    """

    def __init__(self, matrix: SampleMatrix, *, seed: int = 0) -> None:
        self.matrix, self.seed = matrix, seed
        self.most = matrix.least
        """Samples that the last point votes over; 0 without any."""
        self._points: dict[int, VotePoint] = {}

    def at(self, n: int) -> VotePoint:
        """The vote over n samples, from 1 to `most`."""
        if n not in self._points:
            found = self.matrix.at("maj", n, seed=self.seed).values()
            self._points[n] = VotePoint(
                samples=n,
                values=tuple(each.value for each in found),
                total_tokens=self._costs["total"][n - 1] if self._costs["total"] else None,
                sequential_tokens=self._costs["sequential"][n - 1] if self._costs["sequential"] else None,
                error=sqrt(fsum(each.error**2 for each in found)) / len(found),
            )
        return self._points[n]

    def matching(self, cost: Cost, tokens: float) -> VotePoint | None:
        """The vote that spends these tokens, by the rule of `matched_budget`.

        None where one sample spends more already, and where the samples do not know their tokens.
        """
        mix = mix_at(self._costs[cost], tokens)
        return None if mix is None else _mixed(self.at(mix.low + 1), self.at(mix.high + 1), mix)

    @cached_property
    def _costs(self) -> dict[Cost, list[float]]:
        """Mean tokens with 1, 2, ... samples; none where no problem knows any."""
        total = [_known(row, "total") for row in self.matrix.rows.values()]
        longest = [_known(row, "sequential") for row in self.matrix.rows.values()]
        return {
            "total": [_mean([n * _mean(row) for row in total if row]) for n in range(1, self.most + 1) if any(total)],
            # Of a failed sample nothing is known: the longest of those that are.
            "sequential": [
                _mean([best_of_at(row, row, min(n, len(row))) for row in longest if row])
                for n in range(1, self.most + 1)
                if any(longest)
            ],
        }


def _known(row: tuple[Sample, ...], cost: Cost) -> list[float]:
    """Tokens of a problem's samples, as far as they are known."""
    found = [sample.total_tokens if cost == "total" else sample.sequential_tokens for sample in row]
    return [float(tokens) for tokens in found if tokens is not None]


def _mean(values: list[float]) -> float:
    return fsum(values) / len(values)


def _mixed(low: VotePoint, high: VotePoint, mix: Mix) -> VotePoint:
    def tokens(first: float | None, second: float | None) -> float | None:
        return None if first is None or second is None else mix.of(first, second)

    return VotePoint(
        samples=mix.of(low.samples, high.samples),
        values=tuple(mix.of(a, b) for a, b in zip(low.values, high.values, strict=True)),
        total_tokens=tokens(low.total_tokens, high.total_tokens),
        sequential_tokens=tokens(low.sequential_tokens, high.sequential_tokens),
        error=mix.of(low.error, high.error),  # both have the same samples: their errors may add up
        short=mix.short,
    )
