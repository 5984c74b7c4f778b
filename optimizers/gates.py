"""Thresholds of gates, found on labelled samples so that they promise something.

`calibrate`: errors among what is accepted, at most alpha, with confidence 1 - delta over calibration sets. Every
threshold is a hypothesis, that more than alpha of what it accepts is wrong. A binomial test rejects it, and they are
tested in an order that keeps the chance of any wrong rejection below delta (Learn then Test, Angelopoulos et al.,
arXiv:2110.01052).
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple, get_args

from reasonflow.errors import InputError, UnknownName
from reasonflow.gates.gate import Calibration, Gate
from reasonflow.optimizers.published_thresholds import Source, published

_STARTS = 4
"""Strict thresholds from which it loosens, delta shared. A sequence ends at the first that is not rejected, and few
samples pass the strictest: from one start alone 46 % of what hindsight accepts was accepted on 1,000 samples, from
four of them 75 %."""
_TESTED = 40
"""Thresholds, evenly apart in the logarithm of how many samples pass."""


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
    some 600 to 1,000 to come near the best threshold.

    samples: held out, independent of each other, of the traffic that the gate will see. model: its fingerprint.
    faithful: set what the paper of the gate's score would, and how it treats equal scores, for comparison with it; see
        `published_thresholds`. It promises nothing, and needs neither alpha nor delta nor verdicts. True or "released":
        as in the papers' code; "paper": as in their text.
    Raises InputError for alpha and delta outside 0 to 1, for too few samples, and as `published` does.
    """
    if faithful:
        return _as_published(gate, samples, "released" if faithful is True else faithful, model)
    _check_share("alpha", alpha)
    _check_share("delta", delta)
    scored, least = _best_first(gate, samples), fewest(alpha, delta)
    if len(scored) < least:
        raise InputError(
            f"{len(scored)} scored samples cannot show that at most {alpha:g} of them are wrong",
            why=f"at confidence {1 - delta:g} it takes {least}, even without an error",
            fix="give more samples, or a larger alpha or delta",
        )
    place = max(_holding(gate, scored, alpha, delta), default=None)
    threshold = None if place is None else scored[place].score
    return _found(gate, threshold, samples, "fixed sequences", model, alpha, delta)


def within_takeover(gate: Gate, samples: Sequence[Sample], takeover: float, *, model: str = "") -> Calibration:
    """Set the gate so that at most this share of the samples does not pass. It promises nothing about errors.

    takeover: above 0, below 1. Raises InputError outside, and where too many samples could not be scored.
    """
    _check_share("takeover", takeover)
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
    return 1 + math.ceil(math.log(delta / _STARTS) / math.log1p(-alpha))


@lru_cache(maxsize=65_536)  # over many splits the same few tests come again and again
def binomial_tail(errors: int, count: int, rate: float) -> float:
    """The chance of at most so many errors among count, at a rate above 0 and below 1."""
    if errors >= count:
        return 1.0
    return min(1.0, math.fsum(math.exp(_log_chance(k, count, rate)) for k in range(errors + 1)))


def _log_chance(k: int, count: int, rate: float) -> float:
    ways = math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1)
    return ways + k * math.log(rate) + (count - k) * math.log1p(-rate)


def _holding(gate: Gate, scored: Sequence[Sample], alpha: float, delta: float) -> Iterator[int]:
    """Places in the order of samples, best first, whose scores are thresholds that hold."""
    least = fewest(alpha, delta)
    numbers = [round(least * (len(scored) / least) ** (step / (_TESTED - 1))) for step in range(_TESTED)]
    numbers = sorted(set(numbers))
    errors = [0]
    for sample in scored:
        errors.append(errors[-1] + (not sample.right))
    ranks = [_rank(gate, sample.score) for sample in scored]
    for start in range(_STARTS):
        for number in numbers[start * len(numbers) // _STARTS :]:
            cut = bisect_left if gate.strict else bisect_right
            passing = cut(ranks, ranks[number - 1])
            # The sample whose score the threshold is counts as no draw: those before it are independent of it.
            if passing < 2 or binomial_tail(errors[passing], passing - 1, alpha) > delta / _STARTS:
                break
            yield number - 1


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


def _check_share(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise InputError(f"{name} is {value}", fix=f"give {name} above 0 and below 1")
