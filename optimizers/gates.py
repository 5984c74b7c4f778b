"""Thresholds of gates, found on labelled samples so that they promise something.

`calibrate`: errors among what is accepted, at most alpha, with confidence 1 - delta over calibration sets. Every
threshold is a hypothesis, that more than alpha of what it accepts is wrong. All of them are tested at once, so that the
chance of any wrong rejection is at most delta (Learn then Test, Angelopoulos et al., arXiv:2110.01052); how is told in
`error_bounds`.
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import NamedTuple, get_args

from reasonflow.errors import InputError, UnknownName
from reasonflow.gates.gate import Calibration, Gate
from reasonflow.optimizers.error_bounds import most_errors
from reasonflow.optimizers.published_thresholds import Source, published


class Sample(NamedTuple):
    """A candidate whose answer is known."""

    score: float
    """Not a number where it could not be scored: it is never accepted."""
    right: bool


def calibrate(
    gate: Gate,
    samples: Sequence[Sample],
    *,
    alpha: float = 0.1,
    delta: float = 0.1,
    model: str = "",
    faithful: bool | Source = False,
) -> Calibration:
    """Set the gate to the loosest threshold that holds, and say what it was found on.

    Where none holds, the gate lets nothing pass. It takes `fewest(alpha, delta)` samples even without an error, and
    some 500 to 1,000 to come near the best threshold.

    samples: held out, independent of each other, of the traffic that the gate will see. model: its fingerprint.
    faithful: set what the paper of the gate's score would, and how it treats equal scores, for comparison with it; see
        `published_thresholds`. It promises nothing, and needs neither alpha nor delta nor verdicts. True or "released":
        as in the papers' code; "paper": as in their text.
    Raises InputError for alpha and delta outside 0 to 1, for too few samples, and as `published` does.
    """
    if faithful:
        return _as_published(gate, samples, "released" if faithful is True else faithful, model)
    check_share("alpha", alpha)
    check_share("delta", delta)
    scored, least = _best_first(gate, samples), fewest(alpha, delta)
    if len(scored) < least:
        raise InputError(
            f"{len(scored)} scored samples cannot show that at most {alpha:g} of them are wrong",
            why=f"at confidence {1 - delta:g} it takes {least}, even without an error",
            fix="give more samples, or a larger alpha or delta",
        )
    return _found(gate, _loosest(gate, scored, alpha, delta), samples, "simultaneous bound", model, alpha, delta)


def shut(gate: Gate, samples: Sequence[Sample] = (), *, model: str = "") -> Calibration:
    """Set the gate so that nothing passes: what is left where samples are too few to promise anything."""
    return _found(gate, None, samples, "shut", model)


def within_takeover(gate: Gate, samples: Sequence[Sample], takeover: float, *, model: str = "") -> Calibration:
    """Set the gate so that at most this share of the samples does not pass. It promises nothing about errors.

    takeover: above 0, below 1. Raises InputError outside, and where too many samples could not be scored.
    """
    check_share("takeover", takeover)
    scored = _best_first(gate, samples)
    must = math.ceil((1 - takeover) * len(samples))
    if not 0 < must <= len(scored):
        raise InputError(
            f"{must} of {len(samples)} samples would have to pass, and {len(scored)} are scored",
            fix="give samples with scores, or a larger takeover",
        )
    return _found(gate, scored[must - 1].score, samples, "takeover", model)


def _as_published(gate: Gate, samples: Sequence[Sample], source: Source, model: str) -> Calibration:
    if source not in get_args(Source):
        raise UnknownName.among("source", source, get_args(Source))
    scores = [score for score, _ in samples if not math.isnan(score)]
    threshold, gate.strict = published(gate.score, scores, source)
    return _found(gate, threshold, samples, f"published, {source}", model)


def fewest(alpha: float, delta: float) -> int:
    """Samples that show a risk of at most alpha where none of them is an error."""
    return math.ceil(math.log(delta) / math.log1p(-alpha))


def _loosest(gate: Gate, scored: Sequence[Sample], alpha: float, delta: float) -> float | None:
    """The loosest threshold that holds; None where none does. scored: best first."""
    bound = most_errors(len(scored), alpha, delta)
    errors = [0]
    for sample in scored:
        errors.append(errors[-1] + (not sample.right))
    ranks = [_rank(gate, sample.score) for sample in scored]
    cut = bisect_left if gate.strict else bisect_right
    for sample, rank in zip(reversed(scored), reversed(ranks), strict=True):
        passing = cut(ranks, rank)
        if errors[passing] <= bound[passing]:
            return sample.score
    return None


def _best_first(gate: Gate, samples: Sequence[Sample]) -> list[Sample]:
    return sorted((each for each in samples if not math.isnan(each.score)), key=lambda each: _rank(gate, each.score))


def _rank(gate: Gate, score: float) -> float:
    """Lower is better."""
    return -score if gate.score.higher else score


def _found(
    gate: Gate,
    threshold: float | None,
    samples: Sequence[Sample],
    method: str,
    model: str,
    alpha: float | None = None,
    delta: float | None = None,
) -> Calibration:
    seen = repr([(float(score), bool(right)) for score, right in samples])
    digest = hashlib.sha256(seen.encode()).hexdigest()[:16] if samples else ""
    calibration = Calibration(
        method=method,
        digest=digest,
        samples=len(samples),
        model=model,
        settings=gate.score.settings,
        alpha=alpha,
        delta=delta,
        acceptance=sum(gate.passes(threshold, score) for score, _ in samples) / len(samples) if samples else None,
    )
    gate.set(threshold, calibration)
    return calibration


def check_share(name: str, value: float) -> None:
    """Raises InputError for what is not above 0 and below 1."""
    if not 0 < value < 1:
        raise InputError(f"{name} is {value}", fix=f"give {name} above 0 and below 1")
