"""What a transfer report holds: both programs, the paired difference, and the vote at equal tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reasonflow.evals.at_k.vote_curve import VoteCurve
from reasonflow.evals.compare.comparison import Comparison, Spent, spent_by
from reasonflow.evals.compare.comparison import compare as compare_runs
from reasonflow.evals.compare.json import spent_json
from reasonflow.evals.compare.run_folder import RunFolder
from reasonflow.evals.statistics import CONFIDENCE, Interval
from reasonflow.evals.sweep.measured import Measured, measured, point_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """A compiled program on problems that its compile has not seen."""

    before: Measured
    """The program it came from, with the vote at its tokens."""
    compiled: Measured
    comparison: Comparison
    """Of both on the problems that both have."""
    calls: Spent
    drawn: int
    """Samples a problem behind the vote; 0 without one."""
    line_out: str
    notes: tuple[str, ...]
    """What has to be known of the figures."""

    @property
    def difference(self) -> Interval:
        """Accuracy of the compiled program minus that of the one it came from, paired by problem."""
        return self.comparison.difference

    @property
    def problems(self) -> int:
        """That both have run on."""
        return len(self.comparison.pairs.common)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        found = self.comparison
        return {
            "problems": self.problems,
            "confidence": CONFIDENCE,
            "before": point_json(self.before),
            "compiled": point_json(self.compiled),
            "difference": self.difference.to_json(),
            "fixed": found.fixed,
            "broken": found.broken,
            **{name: spent_json(spent) for name, spent in found.spent.items()},
            "calls": spent_json(self.calls),
            "vote": {"program": "self_consistency", "drawn": self.drawn, "out": self.line_out} if self.drawn else None,
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        from reasonflow.evals.transfer.table import as_text

        return as_text(self)


def compared(
    before: RunFolder, compiled: RunFolder, curve: VoteCurve | None, line_out: str, notes: Sequence[str], seed: int
) -> Transfer:
    """The report of two recorded evaluations of the same problems. curve: of self-consistency; None: without one."""
    comparison = compare_runs(before, compiled, seed=seed)
    first, second = (run.matrix.of(comparison.pairs.common) for run in (before, compiled))
    points: Mapping[str, Measured] = {
        name: measured(name, (), run.samples, str(run.path), curve, seed)
        for name, run in (("before", before), ("compiled", compiled))
    }
    return Transfer(
        before=points["before"],
        compiled=points["compiled"],
        comparison=comparison,
        calls=spent_by(first, second, lambda sample: sample.calls),
        drawn=curve.most if curve else 0,
        line_out=line_out,
        notes=(*notes, *comparison.warnings),
    )
