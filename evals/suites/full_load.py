"""Full load: rounds of problems side by side on an engine that has nothing else to do, arms in turns.

What saves tokens shows here as seconds: slots that become free are taken by other problems of the round.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import anyio.to_thread
import dspy

from reasonflow.evals.dataset import Problem
from reasonflow.evals.judging import Judge
from reasonflow.evals.manifest import describe
from reasonflow.evals.performance.conditions import forget, start, turns
from reasonflow.evals.progress import Progress
from reasonflow.evals.record import Record, recorded
from reasonflow.evals.run_lines import RunLines
from reasonflow.evals.samples import Key, Sample
from reasonflow.evals.session import Audience, Session
from reasonflow.evals.suites.arms import Way
from reasonflow.evals.suites.suite import Setting
from reasonflow.plan.budget import Budget

RUNS, ROUNDS = "runs.jsonl", "rounds.jsonl"
WARM_UP = 1
"""The warm-up is another sample of the first problem: the number of it, which gives it another seed."""

Told = Callable[[Any], Mapping[str, Any]]
"""What is kept of a prediction, in JSON's types."""


class Loaded:
    """What an arm gave under full load."""

    def __init__(self, samples: Sequence[Sample], told: Mapping[Key, Mapping[str, Any]], seconds: Sequence[float]):
        self.samples = samples
        """In the problems' order."""
        self.told = told
        """Of the runs that did not fail."""
        self.seconds = seconds
        """Of each round, from its first call to its last verdict."""


async def at_full_load(
    setting: Setting,
    lm: dspy.LM,
    folder: str,
    arms: Mapping[str, Way],
    problems: Sequence[Problem],
    judge: Judge,
    told: Told,
    *,
    side_by_side: int,
) -> dict[str, Loaded]:
    """Every arm on all problems, `side_by_side` of them a round, with the same seeds as in an evaluation.

    Each round begins with an empty prefix cache, the first one after a run of the first arm that nobody counts. What an
    earlier session has measured stays as it is; a round that was stopped is measured anew, from its beginning. Raises
    InputError for a folder of another measurement, and what a run raises that would repeat.
    """
    rounds = [problems[place : place + side_by_side] for place in range(0, len(problems), side_by_side)]
    setting.say(f"{folder}: {' and '.join(arms)} in turns on {len(problems)} problems, {side_by_side} side by side")
    progress = Progress(setting.console, len(arms) * len(problems), folder)
    with ExitStack() as stack:
        stack.enter_context(progress)
        at = {
            name: _Arm(setting, lm, f"{folder}/{name}", way, problems, judge, told, side_by_side)
            for name, way in arms.items()
        }
        for arm in at.values():
            stack.enter_context(arm.opened(progress))
        left = [(turn - 1, name) for turn, name in turns(tuple(arms), len(rounds))]
        left = [(place, name) for place, name in left if not at[name].has(rounds[place])]
        if left:
            await anyio.to_thread.run_sync(start, lm)
            await next(iter(at.values())).warm_up()
        for place, name in left:
            await at[name].measure(rounds[place], progress)
        return {name: arm.found(rounds) for name, arm in at.items()}


class _Arm:
    """One program of the measurement, with the folder of its runs."""

    def __init__(
        self,
        setting: Setting,
        lm: dspy.LM,
        folder: str,
        way: Way,
        problems: Sequence[Problem],
        judge: Judge,
        told: Told,
        side_by_side: int,
    ) -> None:
        self._lm, self._program, self._judge, self._seed = lm, way.program, judge, setting.seed
        self._told, self._problems = told, problems
        settings = {**way.settings, "side_by_side": side_by_side}
        self._manifest = describe(
            way.program, problems, lm=lm, samples=1, seed=setting.seed, benchmark=folder, settings=settings
        )
        self._folder = setting.out / folder
        self._runs, self._rounds = RunLines(self._folder / RUNS), RunLines(self._folder / ROUNDS)
        self._record: Record | None = None
        self._samples: dict[Key, Sample] = {}

    @contextmanager
    def opened(self, progress: Progress) -> Iterator[None]:
        """With its folder's record. What is in it already is told."""
        with recorded(self._folder, self._manifest) as record, self._runs, self._rounds:
            record.complete = True  # it keeps no calls that a later session could go on with
            self._record = record
            for sample in record.kept:
                self._samples[sample.key] = sample
                progress.kept(sample)
            yield

    def has(self, problems: Sequence[Problem]) -> bool:
        """Whether a whole round is there. Its samples are recorded when it has ended, one after the other."""
        return all((problem.id, 0) in self._samples for problem in problems)

    async def warm_up(self) -> None:
        """One run, which nobody counts."""
        await self._run(self._problems[:1], WARM_UP, Audience())

    async def measure(self, problems: Sequence[Problem], progress: Progress) -> None:
        """A round, recorded when all of it has ended."""
        assert self._record is not None, "the arm is not opened"
        predictions: dict[Key, Mapping[str, Any]] = {}
        audience = Audience(on_prediction=lambda key, given: predictions.update({key: self._told(given)}))
        samples, seconds = await self._run(problems, 0, audience)
        self._rounds.keep(samples[0].key, {"seconds": seconds, "problems": len(samples)})
        for sample in samples:
            if sample.key in predictions:
                self._runs.keep(sample.key, predictions[sample.key])
            if sample.key not in self._samples:  # of a round whose recording was stopped, some are there
                self._record.append(sample)
                self._samples[sample.key] = sample
                progress.ended(sample)

    async def _run(self, problems: Sequence[Problem], number: int, audience: Audience) -> tuple[list[Sample], float]:
        """The samples in the problems' order, and the seconds of all. number: of the sample of each problem."""
        # Without a record: calls of a run that was stopped must not be found again, they would take no time.
        session = Session(
            self._program,
            self._lm,
            self._judge,
            seed=self._seed,
            budget=Budget(),
            spending=None,
            record=None,
            audience=audience,
        )
        await anyio.to_thread.run_sync(forget, self._lm)
        began = time.perf_counter()
        await session.run(iter([(problem, number) for problem in problems]), len(problems))
        seconds = time.perf_counter() - began
        by_id = {sample.id: sample for sample in session.ended}
        return [by_id[problem.id] for problem in problems], seconds

    def found(self, rounds: Sequence[Sequence[Problem]]) -> Loaded:
        """All of it."""
        return Loaded(
            [self._samples[problem.id, 0] for problem in self._problems],
            self._runs.rows,
            [float(self._rounds.rows[problems[0].id, 0]["seconds"]) for problems in rounds],
        )
