"""Low load: programs one run at a time on an engine that knows nothing, arms in turns. How long a user waits alone."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

import anyio.to_thread
import dspy

from reasonflow.evals.dataset import Problem
from reasonflow.evals.judging import Judge
from reasonflow.evals.manifest import describe
from reasonflow.evals.performance import traffic
from reasonflow.evals.performance.conditions import forget, runtime_of, start, turns
from reasonflow.evals.performance.prompt_trie import ideal_computed
from reasonflow.evals.progress import Progress
from reasonflow.evals.record import Record, recorded
from reasonflow.evals.run_lines import RunLines
from reasonflow.evals.samples import Sample
from reasonflow.evals.session import Audience, Session
from reasonflow.evals.suites.arms import Way
from reasonflow.evals.suites.suite import Setting
from reasonflow.plan.budget import Budget

FILE = "prompts.jsonl"
Look: TypeAlias = Callable[[Any], Mapping[str, Any]]
"""Says of a run's prediction, in JSON's types, what its measurement is to hold beside the seconds."""
WARM_UP = 1
"""The warm-up is another sample of the first problem: the number of it, which gives it another seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alone:
    """A run that had the engine for itself."""

    wall_s: float
    """Of the program call."""
    computed: int
    """Prompt tokens that the engine computed."""
    ideal: int
    """The least that it could have computed of the same prompts."""
    device: str
    """The engine's; empty where it has none."""
    told: Mapping[str, Any] = field(default_factory=dict)
    """What a `Look` says of the run."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One problem, solved in both ways."""

    baseline: Alone
    ours: Alone


async def at_low_load(
    setting: Setting,
    lm: dspy.LM,
    folder: str,
    arms: Mapping[str, Way],
    problems: Sequence[Problem],
    judge: Judge,
) -> list[Pair]:
    """Runs of the two arms on each problem, the first of them the baseline; without problems where a run failed.

    Measured and resumed as in `in_turns`, and raises what that does.
    """
    baseline, ours = (await in_turns(setting, lm, folder, arms, problems, judge)).values()
    return [Pair(baseline[p.id], ours[p.id]) for p in problems if p.id in baseline and p.id in ours]


async def in_turns(
    setting: Setting,
    lm: dspy.LM,
    folder: str,
    arms: Mapping[str, Way],
    problems: Sequence[Problem],
    judge: Judge,
    *,
    beside: Sequence[dspy.LM] = (),
    most: Mapping[str, int] | None = None,
    looks: Mapping[str, Look] | None = None,
    warm_up: Sequence[str] | None = None,
) -> dict[str, dict[str, Alone]]:
    """By arm and problem, the runs of each arm on each problem; without those that failed.

    beside: other language models of the runs, whose engines are started and forget, too. `computed` and `ideal` are
        those of `lm` alone.
    most: problems of arms that need fewer, the first ones. looks: of arms whose runs are looked at.
    warm_up: arms that run once before, unmeasured, where one has all engines do what others have them do; None: all.
    The same seeds as in an evaluation of the suite's setting. What an earlier session has measured stays as it is; a
    run that was stopped is measured anew, from its beginning. Raises InputError for a folder of another measurement,
    and what a run raises that would repeat.
    """
    counts = {name: min(len(problems), (most or {}).get(name, len(problems))) for name in arms}
    setting.say(f"{folder}: {' and '.join(arms)} in turns on {len(problems)} problems, one run at a time")
    progress = Progress(setting.console, sum(counts.values()), folder)
    with ExitStack() as stack:
        stack.enter_context(progress)
        at = {
            name: _Arm(
                setting,
                (lm, *beside),
                f"{folder}/{name}",
                way,
                problems[: counts[name]],
                judge,
                (looks or {}).get(name),
            )
            for name, way in arms.items()
        }
        for arm in at.values():
            stack.enter_context(arm.opened(progress))
        left = [(turn - 1, name) for turn, name in turns(tuple(arms), len(problems))]
        left = [(place, name) for place, name in left if place < counts[name] and not at[name].has(problems[place])]
        if left:
            for each in (lm, *beside):
                await anyio.to_thread.run_sync(start, each)
            for name in at if warm_up is None else warm_up:
                await at[name].run(problems[0], WARM_UP)
        for place, name in left:
            progress.ended(await at[name].measured(problems[place]))
        return {name: arm.found() for name, arm in at.items()}


class _Arm:
    """One program of the measurement, with the folder of its runs."""

    def __init__(
        self,
        setting: Setting,
        lms: tuple[dspy.LM, ...],
        folder: str,
        way: Way,
        problems: Sequence[Problem],
        judge: Judge,
        look: Look | None,
    ) -> None:
        self._lms, self._lm, self._look = lms, lms[0], look
        self._program, self._judge, self._seed = way.program, judge, setting.seed
        self._manifest = describe(
            way.program, problems, lm=self._lm, samples=1, seed=setting.seed, benchmark=folder, settings=way.settings
        )
        self._folder = setting.out / folder
        self._lines = RunLines(self._folder / FILE)
        self._record: Record | None = None
        self._samples: dict[str, Sample] = {}

    @contextmanager
    def opened(self, progress: Progress) -> Iterator[None]:
        """With its folder's record. What is in it already is told."""
        with recorded(self._folder, self._manifest) as record, self._lines:
            record.complete = True  # it keeps no calls that a later session could go on with
            self._record = record
            for sample in record.kept:
                self._samples[sample.id] = sample
                progress.kept(sample)
            yield

    def has(self, problem: Problem) -> bool:
        return problem.id in self._samples

    async def measured(self, problem: Problem) -> Sample:
        """One run, recorded."""
        assert self._record is not None, "the arm is not opened"
        sample, row = await self.run(problem, 0)
        self._lines.keep(sample.key, asdict(row))
        self._record.append(sample)
        self._samples[sample.id] = sample
        return sample

    async def run(self, problem: Problem, number: int) -> tuple[Sample, Alone]:
        """One run on an engine whose prefix cache is empty. number: of the sample."""
        given: list[Any] = []
        audience = Audience(on_prediction=lambda _, prediction: given.append(prediction))
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
        for lm in self._lms:
            await anyio.to_thread.run_sync(forget, lm)
        with traffic.recorded(self._lm) as seen:
            await session.run(iter([(problem, number)]), 1)
        (sample,) = session.ended
        asked = [(served.prompt, served.output) for served in seen.samples]
        ideal = ideal_computed(asked, runtime_of(self._lm).backend.block_size or 1)
        alone = Alone(
            wall_s=sample.wall_s,
            computed=seen.computed,
            ideal=ideal,
            device="".join(map(_device, given)),
            told={name: value for one in given if self._look is not None for name, value in self._look(one).items()},
        )
        return sample, alone

    def found(self) -> dict[str, Alone]:
        """By problem, without the runs that failed."""
        rows = {key[0]: row for key, row in self._lines.rows.items()}
        return {id: Alone(**rows[id]) for id, sample in self._samples.items() if not sample.error}


def _device(prediction: object) -> str:
    run = getattr(prediction, "run", None)
    return "" if run is None else str(run.fingerprint.get("device", ""))


def on_gpu(pairs: Sequence[Pair]) -> bool:
    """Whether all of it was measured on a device that is known, and no CPU."""
    devices = {alone.device for pair in pairs for alone in (pair.baseline, pair.ours)}
    return bool(devices) and not any(not device or device.startswith("cpu") for device in devices)


def median_s(runs: Sequence[Alone]) -> float | None:
    """Seconds of a run; None of none."""
    return statistics.median(run.wall_s for run in runs) if runs else None
