"""Rows about the seconds of runs that had the engines for themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reasonflow.evals.suites.findings import Row
from reasonflow.evals.suites.low_load import Alone
from reasonflow.evals.suites.ratios import mean_of, ratio_of_totals

NO_PAIRS = "no problem came to its end in both"


def paired(found: Mapping[str, Mapping[str, Alone]], *arms: str) -> list[tuple[Alone, ...]]:
    """The runs of each problem that came to its end in all of the arms."""
    first, *others = (found[arm] for arm in arms)
    return [
        (run, *(other[name] for other in others)) for name, run in first.items() if all(name in each for each in others)
    ]


def latency_rows(pairs: Sequence[tuple[Alone, ...]], arms: Sequence[str], task: str, ending: str) -> list[Row]:
    """Mean seconds of each arm's runs. ending: of the figures' names."""
    return [
        Row(
            task=task,
            arm=arm,
            figure=f"{arm}_latency{ending}",
            result=mean_of([pair[place].wall_s for pair in pairs]),
            setting="" if pairs else NO_PAIRS,
            problems=len(pairs),
        )
        for place, arm in enumerate(arms)
    ]


def ratio_row(pairs: Sequence[tuple[Alone, ...]], above: str, below: str, task: str, figure: str) -> Row:
    """How many times longer the first arm takes: the ratio of the means."""
    return Row(
        task=task,
        arm=f"{above} over {below}",
        figure=figure,
        result=ratio_of_totals([(pair[0].wall_s, pair[1].wall_s) for pair in pairs]),
        setting="" if pairs else NO_PAIRS,
        problems=len(pairs),
    )
