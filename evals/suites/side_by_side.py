"""All arms of a contest at once: what comes out, how many tokens have to be waited for, and what form threads have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import dspy

from reasonflow.evals.performance.conditions import runtime_of
from reasonflow.evals.samples import Sample
from reasonflow.evals.statistics import paired_difference
from reasonflow.evals.suites.arms import Arm, accuracy_of, mean, run_arm
from reasonflow.evals.suites.contest import AUTOREGRESSIVE, SEQUENTIAL, THREADED, Contest
from reasonflow.evals.suites.drafts import share
from reasonflow.evals.suites.findings import Breakdown, Findings, Row
from reasonflow.evals.suites.ratios import mean_ratio
from reasonflow.evals.suites.suite import Setting
from reasonflow.evals.suites.together import together
from reasonflow.evals.suites.trajectory_lines import TrajectoryLines
from reasonflow.evals.suites.woven import Form, Woven, form_of, numbers, repairs, woven

FOLDER = "accuracy"
WIDTHS = range(1, 7)
"""Threads of a first block that have a row in any case; 1 stands for no block, too."""


@dataclass(frozen=True, slots=True)
class _Run:
    """An arm, with what its runs of ThreadWeaver were."""

    arm: Arm
    runs: Sequence[Woven] = ()

    @property
    def samples(self) -> tuple[Sample, ...]:
        return self.arm.samples

    @property
    def token_latency(self) -> float | None:
        """Output tokens on the critical path, mean of the runs that came to their end."""
        return mean([latency for sample in self.samples if (latency := _latency_of(sample))])


async def accuracy(setting: Setting, lm: dspy.LM, contest: Contest) -> Findings:
    """Every arm on all problems. Its rows, its breakdowns, and the figures that have no row."""
    found = await together(*(partial(_run, setting, lm, contest, name) for name in contest.arms))
    by_name = dict(zip(contest.arms, found, strict=True))
    sequential, threaded = by_name[SEQUENTIAL], by_name[THREADED]
    forms = {name: form_of(each.runs) for name, each in by_name.items() if name != SEQUENTIAL}
    return Findings(
        rows=(
            *(_outcome(contest, name, each, sequential) for name, each in by_name.items()),
            _latency(contest, sequential, threaded),
            *_form(contest, threaded.runs),
        ),
        breakdowns=(
            _modes(by_name, forms),
            _by_width(sequential.samples, threaded.runs),
            numbers(threaded.runs),
            repairs(threaded.runs),
        ),
        more={contest.named(name): value for name, value in _more(by_name, forms).items()},
    )


async def _run(setting: Setting, lm: dspy.LM, contest: Contest, name: str) -> _Run:
    """One arm, or what is left of it to do."""
    folder, made = f"{FOLDER}/{name}", contest.way(name)
    run = partial(
        run_arm, setting, lm, folder, made.program, contest.problems, judge=contest.judge, settings=made.settings
    )
    if name == SEQUENTIAL:
        return _Run(await run())
    tokenizer = runtime_of(lm).backend.tokenizer
    assert tokenizer is not None, "an engine of ours has a tokenizer"
    with TrajectoryLines(setting.out / folder, lambda text: len(tokenizer.encode(text))) as lines:
        arm = await run(on_prediction=lines.ended)
        return _Run(arm, woven(arm.samples, lines.found))


# Rows -------------------------------------------------------------------------------------------------------------


def _outcome(contest: Contest, name: str, found: _Run, sequential: _Run) -> Row:
    verdicts, against = found.arm.verdicts, SEQUENTIAL if name != SEQUENTIAL else ""
    return Row(
        task=contest.task,
        arm=contest.named(name) if against else name,
        figure=contest.named(f"{name}_accuracy"),
        result=accuracy_of(verdicts),
        against=against,
        difference=paired_difference(verdicts, sequential.arm.verdicts) if against else None,
        problems=len(verdicts),
        total_tokens=found.arm.total_tokens,
        sequential_tokens=found.arm.sequential_tokens,
    )


def _latency(contest: Contest, sequential: _Run, threaded: _Run) -> Row:
    """The published speed-up: the mean over problems of each one's own ratio (arXiv 2512.07843)."""
    pairs = _latencies(zip(sequential.samples, threaded.samples, strict=True))
    means = [f"{each.token_latency or 0:,.0f}" for each in (sequential, threaded)]
    return Row(
        task="token latency",
        arm=f"{SEQUENTIAL} over {THREADED}",
        figure=contest.named("token_latency_ratio"),
        result=mean_ratio(pairs),
        setting=" over ".join(means),
        problems=len(pairs),
    )


def _form(contest: Contest, runs: Sequence[Woven]) -> tuple[Row, Row]:
    shown = {"format_rate": [run.well_formed for run in runs], "activation_rate": [run.active for run in runs]}
    well_formed, active = (
        Row(
            task="form of threads",
            arm=arm,
            figure=contest.named(figure),
            result=accuracy_of([[float(one)] for one in verdicts]),
            problems=len(verdicts),
        )
        for arm, (figure, verdicts) in zip(("well formed", "has threads"), shown.items(), strict=True)
    )
    return well_formed, active


def _latency_of(sample: Sample) -> int:
    """A run's token latency; 0 for one that failed, whatever it had written by then."""
    return 0 if sample.error else sample.token_latency or 0


def _latencies(pairs: Iterable[tuple[Sample, Sample]]) -> list[tuple[float, float]]:
    """Token latencies of a problem's two runs; without problems where one of them failed."""
    found = [(_latency_of(first), _latency_of(second)) for first, second in pairs]
    return [pair for pair in found if all(pair)]


# Figures and breakdowns -------------------------------------------------------------------------------------------


def _more(by_name: Mapping[str, _Run], forms: Mapping[str, Form]) -> dict[str, float | None]:
    sequential, threaded, form = by_name[SEQUENTIAL], by_name[THREADED], forms[THREADED]
    both = [(a, b) for a, b in zip(sequential.samples, threaded.samples, strict=True) if a.correct and b.correct]
    right = mean_ratio(_latencies(both))
    found = {f"{name}_token_latency": each.token_latency for name, each in by_name.items()}
    found |= {
        "token_latency_ratio_right": None if right is None else right.value,
        "self_parallelism": form.self_parallelism,
        "acceleration_ratio": form.acceleration,
        "rescued_share": form.rescued.value,
        "blocks_per_trajectory": form.blocks,
        "threads_per_block": form.threads,
    }
    if AUTOREGRESSIVE in forms:
        other = forms[AUTOREGRESSIVE]
        found |= {
            "autoregressive_parallel_latency": other.side_by_side,
            "autoregressive_format_rate": other.well_formed.value,
            "autoregressive_activation_rate": other.active.value,
        }
    return found


def _modes(by_name: Mapping[str, _Run], forms: Mapping[str, Form]) -> Breakdown:
    rows = tuple(
        {
            "mode": name,
            "token latency": _rounded(by_name[name].token_latency),
            "with threads side by side": _rounded(form.side_by_side),
            "well formed": form.well_formed,
            "has threads": form.active,
            "rescued": form.rescued,
            "self-parallelism": _rounded(form.self_parallelism),
            "acceleration": _rounded(form.acceleration),
            "blocks": _rounded(form.blocks),
            "threads a block": _rounded(form.threads),
        }
        for name, form in forms.items()
    )
    return Breakdown("modes", "Runs of ThreadWeaver, by mode; tokens and counts are means", rows)


def _by_width(sequential: Sequence[Sample], runs: Sequence[Woven]) -> Breakdown:
    """By the threads of the first block that the threaded run has; runs that failed come last."""
    groups: dict[int, list[tuple[Sample, Woven]]] = {width: [] for width in WIDTHS}
    failed: list[tuple[Sample, Woven]] = []
    for pair in zip(sequential, runs, strict=True):
        run = pair[1]
        (failed if run.sample.error else groups.setdefault(run.width, [])).append(pair)
    rows = [_width(str(width), groups[width]) for width in sorted(groups)]
    rows += [_width("failed", failed)] if failed else []
    return Breakdown("by_width", "By threads of the first block; 1: none", tuple(rows))


def _width(name: str, pairs: Sequence[tuple[Sample, Woven]]) -> dict[str, Any]:
    ratio = mean_ratio(_latencies((first, run.sample) for first, run in pairs))
    return {
        "threads": name,
        "problems": len(pairs),
        SEQUENTIAL: share([first.correct for first, _ in pairs]),
        THREADED: share([run.sample.correct for _, run in pairs]),
        "token latency ratio": None if ratio is None else _rounded(ratio.value),
    }


def _rounded(value: float | None) -> float | None:
    """To two digits behind the point: cells are shown as they are."""
    return None if value is None else round(value, 2)
