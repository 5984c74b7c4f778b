"""A figure at k over all problems: its value, its interval, and what is to be said about both."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

from reasonflow.evals.at_k.majority import SUBSETS
from reasonflow.evals.at_k.matrix import SHARE, Figure, SampleMatrix
from reasonflow.evals.statistics import CONFIDENCE, Accuracy, accuracy


@dataclass(frozen=True, slots=True, kw_only=True)
class AtK:
    """A figure at k: the mean over problems, and an interval over problems."""

    figure: Figure
    k: int
    found: Accuracy
    problems: int
    """That have k samples at least; the others are left out."""
    drawn: int
    """Samples of the problem that has most: the subsets of k are taken from them."""
    error: float
    """Standard error of the value by Monte-Carlo, beside its interval; 0 where all subsets were counted."""

    @property
    def name(self) -> str:
        """As it is written: pass@4."""
        return f"{_WRITTEN.get(self.figure, self.figure)}@{self.k}"

    @property
    def told(self) -> str:
        """What a reader has to know about where it comes from."""
        said = f"{CONFIDENCE:.0%} {self.found.method} over {self.problems} problems"
        if self.k < self.drawn and self.figure != "mean":
            said += f", from {self.drawn} samples of each, reused"
        return said + (f", Monte-Carlo over {SUBSETS:,} subsets, ± {self.error:.4f}" if self.error else "")

    def to_json(self) -> dict[str, Any]:
        found = self.found
        interval = {name: round(getattr(found, name), 6) for name in ("value", "low", "high")}
        more = {"monte_carlo_error": round(self.error, 6)} if self.error else {}
        return {
            "figure": self.figure,
            "k": self.k,
            **interval,
            "interval": f"{CONFIDENCE:.0%} {found.method}",
            "problems": self.problems,
            "drawn": self.drawn,
            **more,
        }


_WRITTEN = {"g_pass": "G-pass", "mg_pass": "mG-pass", "best_of": "best-of"}


def at_k(matrix: SampleMatrix, figure: Figure, k: int, *, share: float = SHARE, seed: int = 0) -> AtK:
    """The figure with its interval: problems are resampled, with all of their samples; Wilson's of single samples.

    Where every problem's value is 0 or 1 they are single yes-or-no draws, and the interval is Wilson's.
    Raises InputError as `SampleMatrix.at` does.
    """
    found = matrix.at(figure, k, share=share, seed=seed)
    values = [each.value for each in found.values()]
    error = sqrt(sum(each.error**2 for each in found.values())) / len(found)
    interval = accuracy([[value] for value in values], seed=seed)
    return AtK(figure=figure, k=k, found=interval, problems=len(found), drawn=matrix.most, error=error)
