"""Which way of answering the planner of the suite `speculation-prompted` trusts, and from which threshold on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import reasonflow as rf
from reasonflow.evals.suites.prompted_gate import ALPHAS
from reasonflow.evals.suites.prompted_small import SCORED, Samples, Scored
from reasonflow.gates.gate import Calibration
from reasonflow.optimizers.gates import Sample, calibrate, fewest

DELTA = 0.1
"""Shared by all scores at all risks, so that the choice among them costs no promise."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A calibrated gate, and where it stands."""

    scored: Scored
    gate: rf.Gate
    alpha: float | None
    """Errors among what is accepted, at most; None where nothing passes at any risk."""
    table: tuple[Mapping[str, Any], ...]
    """All that was tried."""

    @property
    def words(self) -> str:
        """For a table."""
        return "nothing passes at any alpha" if self.alpha is None else f"{self.scored}, alpha {self.alpha:g}"


def choose(samples: Samples, model: str) -> Choice:
    """At the least risk at which anything passes, the score that accepts most. model: the small one's fingerprint.

    Where nothing passes at any risk: a gate that lets nothing pass, of the way that costs least.
    """
    delta = DELTA / (len(SCORED) * len(ALPHAS))
    tried = [(alpha, _at(scored, samples[scored], alpha, delta, model)) for alpha in ALPHAS for scored in SCORED]
    table = tuple({"alpha": alpha, **found.row} for alpha, found in tried)
    for least in ALPHAS:
        best = max((found for alpha, found in tried if alpha == least), key=lambda found: found.accepted)
        if best.accepted:
            return Choice(best.scored, best.gate, least, table)
    return Choice(tried[0][1].scored, tried[0][1].gate, None, table)


@dataclass(frozen=True, slots=True)
class _Tried:
    scored: Scored
    gate: rf.Gate
    accepted: float
    row: Mapping[str, Any]


def _at(scored: Scored, samples: Sequence[Sample], alpha: float, delta: float, model: str) -> _Tried:
    gate, least = scored.gate(), fewest(alpha, delta)
    numbers = sum(not math.isnan(sample.score) for sample in samples)
    if numbers < least:
        settings = gate.score.settings
        gate.set(
            None, Calibration(method="too few samples", digest="", samples=len(samples), model=model, settings=settings)
        )
        accepted, why = 0.0, f"{numbers} scored, it takes {least}"
    else:
        accepted = calibrate(gate, samples, alpha=alpha, delta=delta, model=model).acceptance or 0.0
        why = "none holds" if gate.threshold is None else f"{gate.threshold:.6g}"
    right = sum(sample.right for sample in samples) / len(samples) if samples else None
    row = {
        "score": str(scored),
        "samples": len(samples),
        "right": None if right is None else round(right, 3),
        "threshold": why,
        "accepted": round(accepted, 3),
    }
    return _Tried(scored, gate, accepted, row)
