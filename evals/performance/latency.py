"""How long programs take that arrive over time at nine tenths of what the engine can do, by who goes first.

A seeded mix of single calls, votes, PDR with as many drafts as the engine has slots, and wide votes of four times as
many samples: one of the last two holds all of it for a while, and most programs are short. The engine's capacity is
measured first, by all of them at once; then they arrive one by one, at random intervals that make the load 0.9 of it.
Every arm sees the same arrivals, prompts and forced lengths on one engine.

`ours` is the runtime with its own policy, `fcfs` the same runtime where programs are served in the order of their
arrival, and `asyncio` sends the same prompts by hand, `asyncio.gather` over the engine and its own queue. `dspy` makes
the same calls as plain `dspy.Predict` modules, in DSPy's own layout, through the runtime, which cannot know what
belongs together there.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

import dspy

from reasonflow.errors import InputError
from reasonflow.evals.performance.conditions import check_repeats, forget, runtime_of, start, turns
from reasonflow.evals.performance.mix import KINDS, Kind, Mix
from reasonflow.evals.performance.plain_dspy import plain_dspy
from reasonflow.evals.performance.report import (
    ENGINE_PACKAGES,
    UNKNOWN,
    Provenance,
    Report,
    Table,
    cell,
    provenance,
    rounded_range,
)
from reasonflow.evals.performance.trials import by_repeat, over_ours
from reasonflow.runtime.scheduler import Policy

LOAD = 0.9
REPEATS = 1
HORIZON_S = 7.0
"""How long programs arrive, in each trial of an arm."""
FEWEST = 20
"""Programs in a trial, whatever the horizon."""
PROBES = 60
"""Programs that the capacity is measured with: with 20 of them it came out between 7.8 and 10.7 on one machine."""
ARMS = ("ours", "fcfs", "asyncio", "dspy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One program on its way."""

    at_s: float
    """After the trial's beginning."""
    kind: Kind
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One arm over all arrivals."""

    arm: str
    repeat: int
    latencies_s: tuple[float, ...]
    """By arrival: from the moment a program was to begin until its answer."""
    kinds: tuple[Kind, ...]
    makespan_s: float
    """From the beginning until the last answer."""

    @property
    def mean_s(self) -> float:
        return statistics.mean(self.latencies_s)

    @property
    def p95_s(self) -> float:
        return quantile(self.latencies_s, 0.95)

    @property
    def throughput(self) -> float:
        """Programs per second."""
        return len(self.latencies_s) / self.makespan_s

    def slowdown(self, alone_s: Mapping[Kind, float]) -> float:
        """The worst latency over that of the same kind alone: what starvation would show."""
        pairs = zip(self.latencies_s, self.kinds, strict=True)
        return max(latency / alone_s[kind] for latency, kind in pairs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Latencies:
    """All trials of one measurement."""

    trials: tuple[Trial, ...]
    alone_s: Mapping[Kind, float]
    """How long each kind takes on an idle engine."""
    capacity: float
    """Programs per second of the mix that the engine can do."""
    repeats: int
    provenance: Provenance = UNKNOWN

    def of(self, arm: str) -> list[Trial]:
        """By repeat."""
        return by_repeat(self.trials, arm)

    def figures(self) -> dict[str, float]:
        """Medians over the repeats."""
        found: dict[str, float] = {}
        for arm in ARMS:
            trials = self.of(arm)
            found[f"{arm}_mean_s"] = round(statistics.median(trial.mean_s for trial in trials), 4)
            found[f"{arm}_p95_s"] = round(statistics.median(trial.p95_s for trial in trials), 4)
            found[f"{arm}_max_s"] = round(max(max(trial.latencies_s) for trial in trials), 4)
            found[f"{arm}_throughput"] = round(statistics.median(trial.throughput for trial in trials), 4)
            found[f"{arm}_max_slowdown"] = round(max(trial.slowdown(self.alone_s) for trial in trials), 2)
        for arm in ARMS[1:]:
            found[f"{arm}_mean_over_ours"] = round(statistics.median(self.over_ours(arm)), 3)
        return found

    def over_ours(self, arm: str) -> list[float]:
        """Its mean latency over ours, repeat by repeat."""
        return over_ours(self.trials, arm, lambda trial: trial.mean_s)

    def report(self) -> Report:
        return Report(
            benchmark="latency",
            unit=f"seconds from a program's arrival to its answer at {LOAD:g} of capacity; programs per second; "
            "slowdown: over the same kind of program alone",
            figures=self.figures(),
            spread={f"{arm}_mean_s": rounded_range([t.mean_s for t in self.of(arm)], 4) for arm in ARMS},
            tables=(self._table(), self._by_kind()),
            repeats=self.repeats,
            details={
                "programs": len(self.trials[0].kinds),
                "capacity": round(self.capacity, 3),
                "alone_s": {kind: round(seconds, 4) for kind, seconds in self.alone_s.items()},
                "trials": [asdict(trial) for trial in self.trials],
            },
            provenance=self.provenance,
        )

    def _table(self) -> Table:
        rows = []
        for arm in ARMS:
            trials = self.of(arm)
            rows.append(
                (
                    arm,
                    cell([trial.mean_s for trial in trials], 2),
                    cell([trial.p95_s for trial in trials], 2),
                    f"{max(max(trial.latencies_s) for trial in trials):.2f}",
                    cell(self.over_ours(arm), 2),
                    cell([trial.throughput for trial in trials], 2),
                    f"{max(trial.slowdown(self.alone_s) for trial in trials):.1f}",
                )
            )
        counts = Counter(self.trials[0].kinds)
        mixed = ", ".join(f"{counts[kind]} {kind}" for kind in KINDS if counts[kind])
        columns = ("arm", "mean s", "95th s", "max s", "mean over ours", "programs/s", "worst slowdown")
        title = f"{mixed}; {LOAD:g} of a capacity of {self.capacity:.2f} programs/s"
        return Table(title=title, columns=columns, rows=tuple(rows))

    def _by_kind(self) -> Table:
        rows = []
        for arm in ARMS:
            found: dict[Kind, list[float]] = {}
            for trial in self.of(arm):
                for latency, kind in zip(trial.latencies_s, trial.kinds, strict=True):
                    found.setdefault(kind, []).append(latency)
            rows.append((arm, *(f"{statistics.mean(found[kind]):.2f}" for kind in KINDS)))
        alone = ("alone", *(f"{self.alone_s[kind]:.2f}" for kind in KINDS))
        return Table(title="Mean seconds by kind", columns=("arm", *KINDS), rows=(alone, *rows))


def measure_latency(lm: dspy.LM, repeats: int = REPEATS, *, horizon_s: float = HORIZON_S) -> Latencies:
    """Measure every arm on one of our engines; within a minute on two cores and the small engine of the benchmarks.

    horizon_s: how long programs arrive in each trial. Raises InputError for numbers below those that make sense.
    """
    check_repeats(repeats)
    if horizon_s <= 0:
        raise InputError(f"cannot measure over {horizon_s:g} s", fix="give a horizon above 0")
    start(lm)
    mix = Mix(lm)
    with dspy.context(disable_history=True):
        alone = {kind: _alone(mix, kind) for kind in KINDS}
        capacity = _capacity(mix, PROBES)
        count = max(FEWEST, round(LOAD * capacity * horizon_s))
        trials = []
        for repeat, arm in turns(ARMS, repeats):
            trials.append(_measured(mix, arm, arrivals(count, LOAD * capacity, repeat), repeat))
    return Latencies(
        trials=tuple(trials),
        alone_s=alone,
        capacity=capacity,
        repeats=repeats,
        provenance=provenance(ENGINE_PACKAGES, lm),
    )


def arrivals(count: int, rate: float, seed: int) -> tuple[Arrival, ...]:
    """A Poisson process of that many programs, stretched to the rate: a short one is never as fast as it should be."""
    random = Random(seed)
    kinds = [kind for kind in KINDS for _ in range(max(1, round(KINDS[kind] * count)))]
    random.shuffle(kinds)
    moments: list[float] = []
    for _ in kinds:
        moments.append((moments[-1] if moments else 0.0) + random.expovariate(1.0))
    stretch = len(kinds) / rate / moments[-1]
    return tuple(
        Arrival(at_s=moment * stretch, kind=kind, number=1000 * seed + number)
        for number, (moment, kind) in enumerate(zip(moments, kinds, strict=True))
    )


def quantile(numbers: Sequence[float], share: float) -> float:
    """The least of the numbers that so large a share of them does not exceed."""
    ranked = sorted(numbers)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]


# Trials -----------------------------------------------------------------------------------------------------------


def _alone(mix: Mix, kind: Kind) -> float:
    """Seconds of one program on an idle engine: the least of three, of which the first one warms up."""
    found = []
    for number in (-1, -2, -3):
        forget(mix.lm)
        began = time.perf_counter()
        asyncio.run(mix.program(kind, number))
        found.append(time.perf_counter() - began)
    return min(found)


def _capacity(mix: Mix, count: int) -> float:
    """Programs per second when all are there at once: between a fifth and four fifths of their work, where the engine
    is full.
    """
    forget(mix.lm)
    done: list[tuple[float, int]] = []

    async def one(arrival: Arrival) -> None:
        await mix.program(arrival.kind, arrival.number)
        done.append((time.perf_counter(), mix.work(arrival.kind)))

    async def all_of_them() -> None:
        await asyncio.gather(*(one(arrival) for arrival in arrivals(count, 1.0, 0)))

    began = time.perf_counter()
    asyncio.run(all_of_them())
    whole, work = sum(work for _, work in done), 0
    first, last = (began, 0), (done[-1][0], whole)
    for moment, own in done:
        work += own
        if work <= 0.2 * whole:
            first = (moment, work)
        if work >= 0.8 * whole:
            last = (moment, work)
            break
    rate = (last[1] - first[1]) / (last[0] - first[0])
    return rate / (whole / len(done))


def _measured(mix: Mix, arm: str, coming: Sequence[Arrival], repeat: int) -> Trial:
    forget(mix.lm)
    latencies = [0.0] * len(coming)

    async def served(place: int, began: float, run: Callable[[Kind, int], Awaitable[Any]]) -> None:
        arrival = coming[place]
        await asyncio.sleep(max(0.0, began + arrival.at_s - time.perf_counter()))
        await run(arrival.kind, arrival.number)
        latencies[place] = time.perf_counter() - began - arrival.at_s

    async def all_of_them(run: Callable[[Kind, int], Awaitable[Any]]) -> float:
        began = time.perf_counter()
        await asyncio.gather(*(served(place, began, run) for place in range(len(coming))))
        return time.perf_counter() - began

    if arm == "asyncio":
        makespan_s = runtime_of(mix.lm).run(lambda: all_of_them(mix.by_hand))
    elif arm == "dspy":
        with plain_dspy(mix.lm, 1):  # its modules have engines of their own, with the lengths of their kinds
            makespan_s = asyncio.run(all_of_them(mix.plain))
    else:
        with _served_by(mix.lm, "fcfs" if arm == "fcfs" else "shortest"):
            makespan_s = asyncio.run(all_of_them(mix.program))
    kinds = tuple(arrival.kind for arrival in coming)
    return Trial(arm=arm, repeat=repeat, latencies_s=tuple(latencies), kinds=kinds, makespan_s=makespan_s)


@contextmanager
def _served_by(lm: dspy.LM, policy: Policy) -> Iterator[None]:
    """The runtime with this policy."""
    scheduler = runtime_of(lm).scheduler
    before, scheduler.policy = scheduler.policy, policy
    try:
        yield
    finally:
        scheduler.policy = before
