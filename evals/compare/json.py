"""Comparisons as plain JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from reasonflow.evals.compare.comparison import Comparison, Figures, Matched, Spent
from reasonflow.evals.compare.run_folder import RunFolder
from reasonflow.evals.statistics import CONFIDENCE, Accuracy


def as_json(found: Sequence[Comparison], *, changed: bool = False) -> dict[str, Any]:
    """All comparisons, which have one baseline. changed: list the problems that came out differently."""
    return {
        "baseline": _run(found[0].baseline),
        "confidence": CONFIDENCE,
        "comparisons": [_comparison(each, changed) for each in found],
    }


def _comparison(found: Comparison, changed: bool) -> dict[str, Any]:
    return {
        "other": _run(found.other),
        "problems": len(found.pairs.common),
        "only_baseline": list(found.pairs.only_baseline),
        "only_other": list(found.pairs.only_other),
        "other_gold": list(found.pairs.other_gold),
        "same_seeds": found.pairs.same_seeds,
        "common_samples": found.pairs.common_samples,
        "warnings": list(found.warnings),
        "accuracy": {
            "baseline": accuracy_json(found.accuracies[0]),
            "other": accuracy_json(found.accuracies[1]),
            "difference": found.difference.to_json(),
        },
        "figures": [_figures(each) for each in found.figures],
        "matched": [_matched(each) for each in found.matched],
        **{name: spent_json(spent) for name, spent in found.spent.items()},
        "fixed": found.fixed,
        "broken": found.broken,
        **({"changed": [asdict(each) for each in found.changed]} if changed else {}),
        "settings": {where: {"baseline": before, "other": now} for where, before, now in found.settings},
    }


def accuracy_json(found: Accuracy) -> dict[str, Any]:
    """Rounded to six places, with the interval's method."""
    ends = {name: round(getattr(found, name), 6) for name in ("value", "low", "high")}
    return {**ends, "interval": f"{CONFIDENCE:.0%} {found.method}"}


def _run(run: RunFolder) -> dict[str, Any]:
    return {
        "path": str(run.path),
        "samples": len(run.samples),
        "planned": run.planned,
        "finished": not run.unfinished,
        "wall_s": round(run.wall_s, 4),
    }


def _figures(found: Figures) -> dict[str, Any]:
    return {
        "figure": found.baseline.figure,
        "k": found.baseline.k,
        "baseline": found.baseline.to_json(),
        "other": found.other.to_json(),
        "difference": found.difference.to_json(),
    }


def _matched(found: Matched) -> dict[str, Any]:
    vote = found.vote
    return {
        "cost": found.cost,
        "voter": str(found.voter.path),
        "against": str(found.against.path),
        "samples": round(vote.samples, 4),
        "spends_less": vote.short,
        "accuracy": accuracy_json(found.accuracy),
        "difference": found.difference.to_json(),
        **({"monte_carlo_error": round(vote.error, 6)} if vote.error else {}),
    }


def spent_json(found: Spent) -> dict[str, Any]:
    """Rounded to four places."""

    def rounded(value: float | None) -> float | None:
        return None if value is None else round(value, 4)

    return {
        "baseline": rounded(found.baseline),
        "other": rounded(found.other),
        "ratio": None if found.ratio is None else found.ratio.to_json(),
    }
