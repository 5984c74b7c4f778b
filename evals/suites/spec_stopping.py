"""The part `stopping` of the suite `speculation`: what ending unsure samples saves, at equal votes.

ConfidentVote on noisy problems, with stopping and without, the same seeds and so the same samples: those that stopping
ends are written whole on the other side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import reasonflow as rf
from reasonflow.evals.benchmarks import load
from reasonflow.evals.dataset import Problem
from reasonflow.evals.statistics import Interval, paired_difference
from reasonflow.evals.suites.arms import Way, accuracy_of, exact, is_right, mean, way
from reasonflow.evals.suites.closing import close
from reasonflow.evals.suites.findings import Findings, Goal, Row
from reasonflow.evals.suites.full_load import Loaded, at_full_load
from reasonflow.evals.suites.ratios import ratio_of_totals
from reasonflow.evals.suites.suite import Setting
from reasonflow.plan.nodes import Vote
from reasonflow.prompts.canonical import canonical
from reasonflow.runtime.joins import vote

FOLDER = "stopping"
TASK = "noise"
STOPPING, WHOLE = "stopping", "whole"
N, WARM_UP = 64, 8
WINDOW, KEEP = 4, 0.1
"""Chosen on 12 other problems, `graphmath:noise,split=train`: replayed over 64 whole samples of each, stopping would
have saved 52 % of all tokens at 11 of 12 right votes. A window of 8 saves 38 % (9 of 12), one of 16 saves 42 % (11 of
12); the plain majority of the samples had 9 of 12. A larger share to keep saves less: 32 % at 0.3."""
MOST = 6
"""Problems, at most: the first ones. Each takes some 14,000 tokens in one arm and half of that in the other, and two
cores write some 800 a second where they report 20 log-probabilities of each."""
SIDE_BY_SIDE = 3
"""Problems of a round: their samples are more than an engine runs at once on a CPU, 128."""
CONFIG: Mapping[str, Any] = {"temperature": 1.0, "max_tokens": 400}
"""No right solution of these problems is longer."""
GOALS = (
    Goal(figure="tokens_saved_share", least=0.40),
    Goal(figure=f"{STOPPING}_minus_{WHOLE}_{TASK}", least=-0.01),
    Goal(figure="stopping_wall_ratio", above=1.0),
)
_VOTE = Vote(by=None, normalise=canonical)


async def measure(setting: Setting) -> Findings:
    """Its rows, goals and figures."""
    problems = load(f"graphmath:{TASK}", limit=min(setting.limit, MOST))
    lm = setting.open(setting.model)
    arms = {STOPPING: _way(stop=True), WHOLE: _way(stop=False)}
    try:
        found = await at_full_load(setting, lm, FOLDER, arms, problems, exact, _told, side_by_side=SIDE_BY_SIDE)
    finally:
        await close(lm)
    stopping, whole = found[STOPPING], found[WHOLE]
    return Findings(
        rows=(_saved(stopping, whole), *_accuracy(problems, stopping, whole), _wall(stopping, whole)),
        goals=GOALS,
        more={
            "stopping_s": sum(stopping.seconds),
            "whole_s": sum(whole.seconds),
            "stopped_share": mean([told["stopped"] / (N - WARM_UP) for told in stopping.told.values()]),
        },
    )


def _way(*, stop: bool) -> Way:
    return way(rf.ConfidentVote, n=N, warm_up=WARM_UP, keep=KEEP, window=WINDOW, stop=stop, config=dict(CONFIG))


def _told(prediction: Any) -> dict[str, Any]:
    answers = [None if answer is None else str(answer) for answer in prediction.answers]
    return {"answers": answers, "stopped": prediction.stopped}


def _saved(stopping: Loaded, whole: Loaded) -> Row:
    """Of the tokens of a whole run, over the problems of which both runs came to their end."""
    pairs = [
        (float(theirs.output_tokens - ours.output_tokens), float(theirs.output_tokens))
        for ours, theirs in zip(stopping.samples, whole.samples, strict=True)
        if not ours.error and not theirs.error and ours.output_tokens is not None and theirs.output_tokens
    ]
    saved, all_of_it = mean([pair[0] for pair in pairs]), mean([pair[1] for pair in pairs])
    return Row(
        task="tokens",
        arm="saved by stopping",
        figure="tokens_saved_share",
        result=ratio_of_totals(pairs),
        setting=f"{saved:,.0f} of {all_of_it:,.0f}" if saved is not None and all_of_it else "no pair of runs",
        problems=len(pairs),
    )


def _accuracy(problems: Sequence[Problem], stopping: Loaded, whole: Loaded) -> list[Row]:
    voted, ours, plain = _verdicts(whole), _verdicts(stopping), _majority(problems, whole)
    compared: list[tuple[str, str, list[list[float]], Interval | None]] = [
        (WHOLE, "", voted, None),
        (STOPPING, WHOLE, ours, paired_difference(ours, voted)),
        ("majority", WHOLE, plain, paired_difference(plain, voted)),
    ]
    return [
        Row(
            task=TASK,
            arm=arm,
            figure=f"{arm}_accuracy",
            result=accuracy_of(verdicts),
            setting=f"n={N}" if arm == "majority" else f"n={N}, window={WINDOW}, keep={KEEP:g}",
            against=against,
            difference=difference,
            problems=len(verdicts),
            total_tokens=_tokens(stopping if arm == STOPPING else whole),
        )
        for arm, against, verdicts, difference in compared
    ]


def _verdicts(found: Loaded) -> list[list[float]]:
    return [[float(sample.correct)] for sample in found.samples]


def _majority(problems: Sequence[Problem], whole: Loaded) -> list[list[float]]:
    """The plain majority of the same whole samples."""
    verdicts = []
    for problem in problems:
        told = whole.told.get((problem.id, 0), {"answers": ()})
        answers = [answer for answer in told["answers"] if answer is not None]
        verdicts.append([float(bool(answers) and is_right(problem, vote(_VOTE, answers)))])
    return verdicts


def _tokens(found: Loaded) -> float | None:
    return mean([sample.total_tokens for sample in found.samples if sample.total_tokens is not None])


def _wall(stopping: Loaded, whole: Loaded) -> Row:
    pairs = list(zip(whole.seconds, stopping.seconds, strict=True))
    return Row(
        task="full load",
        arm=f"{WHOLE} over {STOPPING}, wall time",
        figure="stopping_wall_ratio",
        result=ratio_of_totals(pairs),
        setting=f"{sum(whole.seconds):.1f} s over {sum(stopping.seconds):.1f} s, {len(pairs)} rounds of each",
        problems=len(whole.samples),
    )
