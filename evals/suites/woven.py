"""What the runs of ThreadWeaver were: whether they had threads, how many, and what was wrong with their form."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from reasonflow.evals.samples import Key, Sample
from reasonflow.evals.suites.arms import mean
from reasonflow.evals.suites.drafts import share
from reasonflow.evals.suites.findings import Breakdown, Share
from reasonflow.programs.acceleration import TokenCost
from reasonflow.programs.thread_machine import RESCUED
from reasonflow.programs.trajectories import Block, Trajectory

_PLACE = re.compile(r"^.*?: (?:at character \d+: )?")
"""Where something was repaired: the step with its branch, and the character."""
_DIGITS = re.compile(r"\d+(?:\.\d+)*")


class Kept(NamedTuple):
    """The trajectory of a run that came to its end."""

    trajectory: Trajectory
    cost: TokenCost
    """With its threads side by side, whichever way they were written (ThreadWeaver, arXiv 2512.07843)."""


@dataclass(frozen=True, slots=True)
class Woven:
    """One run of ThreadWeaver."""

    sample: Sample
    kept: Kept | None
    """None where the run failed, and where it was solved without any tags after all."""

    @property
    def blocks(self) -> tuple[Block, ...]:
        """Those that have threads."""
        return () if self.kept is None else tuple(block for block in self.kept.trajectory.blocks if block.threads)

    @property
    def active(self) -> bool:
        """Whether it had threads at all: of how many runs this is so is the activation rate."""
        return bool(self.blocks)

    @property
    def well_formed(self) -> bool:
        """Whether nothing had to be repaired, neither in its text nor while it was written."""
        return self.kept is not None and self.kept.trajectory.well_formed and not self.sample.repairs

    @property
    def width(self) -> int:
        """Threads in its first block; 1 where there is none."""
        return len(self.blocks[0].threads) if self.active else 1

    @property
    def rescued(self) -> bool:
        """Whether no answer came of its threads, so that the problem was solved in one go."""
        return any(RESCUED in repair for repair in self.sample.repairs)


def woven(samples: Sequence[Sample], kept: Mapping[Key, Kept]) -> list[Woven]:
    """The runs, in the samples' order."""
    return [Woven(sample, kept.get(sample.key)) for sample in samples]


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """Of all runs of an arm. A run that failed is not well formed, has no threads, and is in no mean."""

    well_formed: Share
    active: Share
    rescued: Share
    side_by_side: float | None
    """Tokens on the longest path of their trajectories with threads side by side, mean."""
    self_parallelism: float | None
    acceleration: float | None
    blocks: float | None
    """With threads, in a trajectory that has any."""
    threads: float | None
    """In a block that has any."""


def form_of(runs: Sequence[Woven]) -> Form:
    """The means and shares over these runs."""
    costs = [run.kept.cost for run in runs if run.kept is not None]
    return Form(
        well_formed=share([run.well_formed for run in runs]),
        active=share([run.active for run in runs]),
        rescued=share([run.rescued for run in runs]),
        side_by_side=mean([cost.longest for cost in costs]),
        self_parallelism=mean([cost.self_parallelism for cost in costs]),
        acceleration=mean([cost.acceleration for cost in costs]),
        blocks=mean([len(run.blocks) for run in runs if run.active]),
        threads=mean([len(block.threads) for run in runs for block in run.blocks]),
    )


def repairs(runs: Iterable[Woven]) -> Breakdown:
    """Repairs by their kind, the most frequent first: how many there were, and in how many runs."""
    times: Counter[str] = Counter()
    within: Counter[str] = Counter()
    for run in runs:
        kinds = [kind_of(repair) for repair in run.sample.repairs]
        times.update(kinds)
        within.update(set(kinds))
    rows = tuple({"repair": kind, "times": count, "runs": within[kind]} for kind, count in times.most_common())
    return Breakdown("repairs", "Repairs of threaded runs, by kind", rows)


def kind_of(repair: str) -> str:
    """A repair without its place, and with N for every number in it."""
    return _DIGITS.sub("N", _PLACE.sub("", repair))


def numbers(runs: Sequence[Woven]) -> Breakdown:
    """How many trajectories have so many blocks, and how many blocks so many threads."""
    blocks = Counter(len(run.blocks) for run in runs if run.kept is not None)
    threads = Counter(len(block.threads) for run in runs for block in run.blocks)
    rows = tuple(
        {"number": number, "trajectories with so many blocks": blocks[number], "blocks of so many": threads[number]}
        for number in sorted({*blocks, *threads})
    )
    return Breakdown("blocks_and_threads", "Blocks of threaded trajectories, and threads of their blocks", rows)
