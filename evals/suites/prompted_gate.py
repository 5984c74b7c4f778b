"""The part `gate` of the suite `speculation-prompted`: what gates of a prompted model's answers keep of their promise.

Each score's samples are split 500 times: calibrated on one half, counted on the other, at three risks.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import anyio.to_thread

from reasonflow.evals.performance.gate_splits import AtAlpha, measure_splits
from reasonflow.evals.statistics import Interval
from reasonflow.evals.suites.arms import accuracy_of
from reasonflow.evals.suites.findings import Breakdown, Findings, Goal, Row
from reasonflow.evals.suites.prompted_small import MANNERS, SCORED, Samples, Scored
from reasonflow.evals.suites.suite import Setting
from reasonflow.optimizers.gates import Sample, fewest

SPLITS = 500
ALPHAS = (0.1, 0.2, 0.3)
DELTA = 0.1
MOST = 0.13
"""Share of splits that may violate: delta, and what is within chance."""


async def measure(setting: Setting, samples: Samples) -> Findings:
    """Its rows, goals and figures."""
    setting.say(f"gate: {SPLITS} splits of {len(next(iter(samples.values())))} samples, {len(SCORED)} scores")
    found = {
        scored: await anyio.to_thread.run_sync(partial(split, samples[scored]), abandon_on_cancel=True)
        for scored in SCORED
    }
    return Findings(
        rows=(
            *(_right(name, samples) for name in MANNERS),
            *(_row(scored, alpha, found[scored], len(samples[scored])) for scored in SCORED for alpha in ALPHAS),
        ),
        goals=tuple(Goal(figure=_figure(scored, "violation_share", alpha), most=MOST) for scored, alpha in _all(found)),
        breakdowns=(_table(found),),
        more={
            _figure(scored, what, alpha): value
            for scored, alpha in _all(found)
            for what, value in _figures(found[scored][alpha]).items()
        },
    )


def split(samples: Sequence[Sample]) -> dict[float, AtAlpha]:
    """By alpha, of those that half of the samples can show."""
    half = len(samples) // 2
    scored = min(half, sum(sample.score == sample.score for sample in samples) - (len(samples) - half))
    shown = [alpha for alpha in ALPHAS if fewest(alpha, DELTA) <= scored]
    if not shown:
        return {}
    first, *others = shown
    measured = measure_splits(
        samples, alpha=first, alphas=others, delta=DELTA, splits=SPLITS, calibration=half, higher=True
    )
    return {each.alpha: each for each in measured.sweep}


def _all(found: dict[Scored, dict[float, AtAlpha]]) -> list[tuple[Scored, float]]:
    return [(scored, alpha) for scored, by_alpha in found.items() for alpha in by_alpha]


def _figure(scored: Scored, what: str, alpha: float) -> str:
    return f"prompted_{scored.figure}_{what}_{round(alpha * 100)}"


def _figures(at: AtAlpha) -> dict[str, float | None]:
    return {
        "violation_share_raw": at.violation_share,
        "acceptance": at.acceptance.middle,
        "acceptance_over_hindsight": at.acceptance_over_hindsight,
        "nothing_passes_share": at.nothing_passes_share,
    }


def _right(manner: str, samples: Samples) -> Row:
    """How often the small model is right, and whether it can be scored."""
    first = next(scored for scored in SCORED if scored.manner == manner)
    found = samples[first]
    missing = sum(sample.score != sample.score for sample in found)
    return Row(
        task="small model",
        arm=manner,
        figure=f"prompted_small_{manner}_accuracy",
        result=accuracy_of([[float(sample.right)] for sample in found]),
        setting=f"{missing} without a score" if missing else "",
        problems=len(found),
    )


def _row(scored: Scored, alpha: float, by_alpha: dict[float, AtAlpha], samples: int) -> Row:
    at = by_alpha.get(alpha)
    return Row(
        task=f"gate, alpha {alpha:g}",
        arm=f"{scored}: splits that violate, beyond chance",
        figure=_figure(scored, "violation_share", alpha),
        result=None if at is None else Interval(at.violation_share_beyond_chance, *at.beyond_interval),
        setting=f"too few scored samples, it takes {fewest(alpha, DELTA)} in each half"
        if at is None
        else f"accepts {at.acceptance.middle:.1%}, nothing passes in {at.nothing_passes_share:.1%} of the splits",
        problems=samples,
    )


def _table(found: dict[Scored, dict[float, AtAlpha]]) -> Breakdown:
    rows = tuple(
        {
            "score": str(scored),
            "alpha": alpha,
            "violations": round(at.violation_share, 4),
            "beyond chance": round(at.violation_share_beyond_chance, 4),
            "errors of accepted": None if at.risk is None else round(at.risk.middle, 4),
            "accepted": round(at.acceptance.middle, 4),
            "hindsight": round(at.hindsight.middle, 4),
            "accepted over hindsight": _rounded(at.acceptance_over_hindsight),
            "nothing passes": round(at.nothing_passes_share, 4),
        }
        for scored, by_alpha in found.items()
        for alpha, at in by_alpha.items()
    )
    return Breakdown("gates", f"{SPLITS} splits of each score, delta {DELTA:g}; medians over splits", rows)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
