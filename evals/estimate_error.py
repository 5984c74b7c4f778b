"""How far an estimate was off: what a dry run left in the folder against what the evaluation took."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from reasonflow.errors import InputError
from reasonflow.evals.manifest import FILE as MANIFEST
from reasonflow.evals.manifest import differences
from reasonflow.evals.runner import Evaluation
from reasonflow.runtime.estimate import NAMES, shown
from reasonflow.runtime.price import Price

FILE = "estimate.json"
_NOT_COMPARED = ("versions", "commit")
"""A newer version may well be measured against an estimate made before."""


def compared(folder: Path, evaluation: Evaluation) -> dict[str, Any] | None:
    """Predicted and actual, figure by figure; None where the folder holds no estimate.

    `error_percent` is of the actual value, positive where too much was predicted. `inside` says whether the actual
    value lay in the interval: the 95 % one where there was one, else from low to high. Raises InputError for a damaged
    file.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        said, price = found["estimate"], Price(**found["price"])
        changes = list(differences(identity(found["evaluation"]), identity(manifest)))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged", why=f"{type(error).__name__}: {error}", fix="remove it") from error
    if changes:
        return {"skipped": f"the estimate was of another evaluation: {'; '.join(changes[:4])}"}
    if evaluation.stopped:
        return {"skipped": f"the estimate was of all runs, and {evaluation.stopped}"}
    actual = taken(evaluation, price)
    both = ((name, said.get(name), actual.get(name)) for name in NAMES)
    return {name: _figure(predicted, came) for name, predicted, came in both if predicted and came is not None}


def identity(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What makes two evaluations the same for an estimate."""
    return {name: value for name, value in manifest.items() if name not in _NOT_COMPARED}


def taken(evaluation: Evaluation, price: Price) -> dict[str, float | None]:
    """What an evaluation took, by the names of an estimate's figures; None where no run says."""
    recorded = [sample for sample in evaluation.samples if sample.calls is not None]
    if not recorded:
        return dict.fromkeys(NAMES)
    sums: dict[str, float | None] = {
        name: sum(getattr(sample, name) or 0 for sample in recorded)
        for name in ("calls", "input_tokens", "output_tokens", "total_tokens")
    }
    tokens = price.of(int(sums["input_tokens"] or 0), int(sums["output_tokens"] or 0))
    sequential = sum(sample.sequential_tokens or 0 for sample in recorded) / len(recorded)
    dollars = tokens + evaluation.wall_s / 3600 * price.hour
    return {**sums, "sequential_tokens": sequential, "seconds": evaluation.wall_s, "dollars": dollars}


def compared_rows(found: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """The comparison as lines of a report."""
    if "skipped" in found:
        yield "estimate", "–", str(found["skipped"])
        return
    for name, figure in found.items():
        off = "no likely value was predicted"
        if figure["predicted"] is not None:
            error = figure["error_percent"]
            off = f"predicted {shown(name, figure['predicted'])}"
            off += "" if error is None else f", off by {error:+.1f} %"
        low, high = (shown(name, end) for end in figure["interval"])
        side = f"{'inside' if figure['inside'] else 'OUTSIDE'} {figure['kind']} {low} to {high}"
        yield f"estimated {name.replace('_', ' ')}", shown(name, figure["actual"]), f"{off}; {side}"


def _figure(said: Mapping[str, Any], actual: float) -> dict[str, Any]:
    predicted, expected = said["likely"], said["expected"]
    low, high = expected or (said["low"], said["high"])
    # The interval of a pilot that measured always the same has no width, and sums of floats no exact value.
    inside = low - 1e-6 * abs(low) <= actual and (high is None or actual <= high + 1e-6 * abs(high))
    return {
        "predicted": predicted,
        "actual": actual,
        "error_percent": None if predicted is None or not actual else round(100 * (predicted - actual) / actual, 2),
        "interval": [low, high],
        "kind": "the 95 % interval" if expected else "what is possible,",
        "inside": inside,
    }
