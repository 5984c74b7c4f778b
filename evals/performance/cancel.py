"""What cancelling is worth, and how fast it acts: races, quorums, deadlines, cancelled and interrupted callers.

Every arm runs on one engine in one process, the arms alternating, with the same prompts and seeds, after a warm-up.
What a race or a quorum saves is measured against the same samples run to their end.
"""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeAlias

import dspy

import reasonflow as rf
from reasonflow.backends.protocol import Completion, Counters, Request
from reasonflow.errors import InputError
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
from reasonflow.language.program import trace
from reasonflow.plan.nodes import Generate as GenerateNode
from reasonflow.runtime.ambient import surrounded
from reasonflow.runtime.call import template
from reasonflow.runtime.events import BranchEnded, Cancelled, Event
from reasonflow.runtime.runtime import Runtime
from reasonflow.runtime.seeds import sample_seed

REPEATS = 4
SAMPLES = 8
"""Of a vote and its quorum."""
SHORT, LONG = 12, 48
"""Tokens of the two racers, forced."""
RUNNING_S = 0.4
"""How long a run goes on before it is cancelled, interrupted or out of time."""

_PROBLEM = "What is 2 + 2?"
_FORCED: dict[str, Any] = {"style": "text", "ignore_eos": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One run of one arm, on an engine that was idle before and after it."""

    arm: str
    seed: int
    wall_s: float
    tokens: int
    """Generated."""
    engine_steps: int
    """All that the engine made in it."""
    saved_at_most: int = 0
    """Tokens that the run's record says cancelling saved: what the cancelled samples could still have written."""
    steps: int | None = None
    """Of them, those begun after the cancellation, until the engine was idle; None where nothing was cancelled."""
    idle_ms: float | None = None
    """The same in milliseconds."""
    winner: str = ""
    """Of a vote or a quorum: the group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelling:
    """All trials of one measurement, with what is needed to repeat it."""

    trials: tuple[Trial, ...]
    repeats: int
    provenance: Provenance = UNKNOWN

    def of(self, arm: str) -> list[Trial]:
        """By repeat."""
        return [trial for trial in self.trials if trial.arm == arm]

    def figures(self) -> dict[str, float]:
        """Flat. Tokens are means per run, wall times are medians of ours over the baseline's, repeat by repeat."""
        race, quorum = self._saved("race", "wait_for_all"), self._saved("quorum", "vote")
        votes = zip(self.of("quorum"), self.of("vote"), strict=True)
        whole = self.of("wait_for_all")
        return {
            "steps_to_idle": max((trial.steps for trial in self.trials if trial.steps is not None), default=0),
            "ms_to_idle": round(max((t.idle_ms for t in self.trials if t.idle_ms is not None), default=0.0), 1),
            "step_ms": round(statistics.median(1000 * t.wall_s / max(1, t.engine_steps) for t in whole), 1),
            "tokens_saved": round(race + quorum, 1),
            "tokens_saved_at_most": round(self._at_most("race") + self._at_most("quorum"), 1),
            "race_tokens_saved": race,
            "quorum_tokens_saved": quorum,
            "race_wall_ratio": self._ratio("race", "wait_for_all"),
            "race_wall_ratio_to_asyncio": self._ratio("race", "asyncio"),
            "quorum_wall_ratio": self._ratio("quorum", "vote"),
            "quorum_same_winner": statistics.mean(ours.winner == other.winner for ours, other in votes),
            "deadline_overrun_ms": round(max(1000 * (t.wall_s - RUNNING_S) for t in self.of("deadline")), 1),
        }

    def report(self) -> Report:
        return Report(
            benchmark="cancel",
            unit="tokens per run; wall time as a ratio, below 1 is faster; steps and milliseconds at worst",
            figures=self.figures(),
            spread={
                "race_wall_ratio": self._range("race", "wait_for_all"),
                "race_wall_ratio_to_asyncio": self._range("race", "asyncio"),
                "quorum_wall_ratio": self._range("quorum", "vote"),
            },
            tables=(
                Table(
                    title="Each arm: wall time, and the worst of its cancellations",
                    columns=(
                        "arm",
                        "s, median (least to most)",
                        "tokens, mean",
                        "saved at most",
                        "steps to idle",
                        "ms to idle",
                    ),
                    rows=tuple((arm, *_cells(self.of(arm))) for arm in ARMS),
                ),
                Table(
                    title="Figures",
                    columns=("figure", "value"),
                    rows=tuple((name, f"{value:g}") for name, value in self.figures().items()),
                ),
            ),
            repeats=self.repeats,
            details={"trials": [asdict(trial) for trial in self.trials]},
            provenance=self.provenance,
        )

    def _saved(self, arm: str, whole: str) -> float:
        pairs = zip(self.of(arm), self.of(whole), strict=True)
        return round(statistics.mean(other.tokens - ours.tokens for ours, other in pairs), 1)

    def _at_most(self, arm: str) -> float:
        return statistics.mean(trial.saved_at_most for trial in self.of(arm))

    def _ratios(self, arm: str, baseline: str) -> list[float]:
        return [a.wall_s / b.wall_s for a, b in zip(self.of(arm), self.of(baseline), strict=True)]

    def _ratio(self, arm: str, baseline: str) -> float:
        return round(statistics.median(self._ratios(arm, baseline)), 3)

    def _range(self, arm: str, baseline: str) -> list[float]:
        return rounded_range(self._ratios(arm, baseline), 3)


def _cells(trials: Sequence[Trial]) -> tuple[str, ...]:
    saved = statistics.mean(trial.saved_at_most for trial in trials)
    steps = [trial.steps for trial in trials if trial.steps is not None]
    idle = [trial.idle_ms for trial in trials if trial.idle_ms is not None]
    return (
        cell([trial.wall_s for trial in trials], 2),
        f"{statistics.mean(trial.tokens for trial in trials):.0f}",
        f"{saved:.0f}" if saved else "–",
        str(max(steps)) if steps else "–",
        f"{max(idle):.0f}" if idle else "–",
    )


def measure_cancel(lm: dspy.LM, repeats: int = REPEATS) -> Cancelling:
    """Measure every arm on one of our engines; a minute on two cores. From the main thread: one arm interrupts it.

    Raises InputError for `repeats` below 1.
    """
    if repeats < 1:
        raise InputError(f"cannot measure in {repeats} repeats", fix="give a number from 1 up")
    trials: list[Trial] = []
    with dspy.context(disable_history=True):
        for name in ("quorum", "race", "asyncio", "interrupt"):  # every prompt once, and the engine's start
            _measured(name, lm.copy(seed=0), 0)
        for seed in range(1, repeats + 1):
            order = list(ARMS) if seed % 2 else list(reversed(ARMS))
            trials += [_measured(name, lm.copy(seed=seed), seed) for name in order]
    return Cancelling(
        trials=tuple(sorted(trials, key=lambda trial: (list(ARMS).index(trial.arm), trial.seed))),
        repeats=repeats,
        provenance=provenance(ENGINE_PACKAGES, lm),
    )


# Programs ---------------------------------------------------------------------------------------------------------


def says_four(text: str) -> str:
    """What a sample votes for. Two candidates, because a small model that may say anything agrees on nothing."""
    return "four" if "4" in text else "other"


class Vote(rf.Program):
    """Samples and their vote, all of them or as many as it takes."""

    def __init__(self, *, early: bool) -> None:
        self.solve = rf.Generate("problem -> answer", style="text", max_tokens=48)
        self.join = rf.quorum if early else rf.vote

    def plan(self, problem: Any) -> Any:
        samples = self.solve(problem=problem, n=SAMPLES)
        return rf.answer(self.join(samples, by="answer", normalise=says_four))


class Racers(rf.Program):
    """A short and a long call: the first of them, or both."""

    def __init__(self, *, both: bool = False) -> None:
        self.short = rf.Generate("problem -> answer", min_tokens=SHORT, max_tokens=SHORT, **_FORCED)
        self.long = rf.Generate("problem -> answer", min_tokens=LONG, max_tokens=LONG, **_FORCED)
        self.both = both

    def plan(self, problem: Any) -> Any:
        if self.both:
            return {"texts": [self.short(problem=problem).answer, self.long(problem=problem).answer]}
        return rf.answer(rf.race(lambda: self.short(problem=problem), lambda: self.long(problem=problem)))


class Wide(rf.Program):
    """Long samples beside each other, behind a short one that is the answer until then."""

    def __init__(self) -> None:
        self.short = rf.Generate("problem -> answer", min_tokens=1, max_tokens=1, **_FORCED)
        self.long = rf.Generate("problem -> answer", min_tokens=512, max_tokens=512, **_FORCED)

    def plan(self, problem: Any) -> Any:
        first = rf.answer(self.short(problem=problem))
        with_first = rf.call(lambda text: f"{_PROBLEM} {text}", first.answer)
        return rf.answer(self.long(problem=with_first, n=4)[0])


# Arms -------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Seen:
    """What one trial saw: its run's events, and how fast the engine was idle if it looked at that itself."""

    events: list[Event] = field(default_factory=list)
    wall_s: float = 0.0
    winner: str = ""
    tokens: int | None = None
    """Where no run tells them."""
    steps_at_cancel: int | None = None
    """The engine's, read just before it was asked to stop."""
    idle_ms: float | None = None

    @property
    def cancelled(self) -> list[Cancelled]:
        return [event for event in self.events if isinstance(event, Cancelled)]

    @property
    def decisive(self) -> BranchEnded | None:
        """The last sample that ended before the others were taken out."""
        ended: BranchEnded | None = None
        for event in self.events:
            if isinstance(event, Cancelled):
                break
            ended = event if isinstance(event, BranchEnded) else ended
        return ended

    @property
    def generated(self) -> int:
        ends = [event for event in self.events if isinstance(event, (BranchEnded, Cancelled))]
        return sum(event.output_tokens for event in ends) if self.tokens is None else self.tokens


_Arm: TypeAlias = Callable[[dspy.LM, _Seen], None]


def _measured(arm: str, lm: dspy.LM, seed: int) -> Trial:
    seen = _Seen()
    before = _idle(lm)
    with dspy.context(lm=lm), surrounded(watch=seen.events.append):
        ARMS[arm](lm, seen)
    after = _idle(lm)
    return Trial(
        arm=arm,
        seed=seed,
        wall_s=seen.wall_s,
        tokens=seen.generated,
        engine_steps=after.steps - before.steps,
        saved_at_most=sum(event.tokens_saved for event in seen.cancelled),
        steps=_steps_to_idle(seen, before, after),
        idle_ms=seen.idle_ms,
        winner=seen.winner,
    )


def _steps_to_idle(seen: _Seen, before: Counters, after: Counters) -> int | None:
    if seen.steps_at_cancel is not None:
        return after.steps - seen.steps_at_cancel
    if not seen.cancelled or seen.decisive is None:
        return None
    # The decisive sample arrived first at an idle engine and made one token a step.
    return after.steps - before.steps - seen.decisive.output_tokens


def _to_its_end(program: rf.Program) -> _Arm:
    """An arm that runs a program, whatever it cancels by itself."""

    def arm(lm: dspy.LM, seen: _Seen) -> None:
        out = program(problem=_PROBLEM)
        seen.wall_s = out.run.wall_s
        if isinstance(program, Vote):
            seen.winner = says_four(out.answer)
        if seen.cancelled and seen.decisive is not None:
            seen.idle_ms = 1000 * (seen.cancelled[-1].at_s - seen.decisive.at_s)

    return arm


def _by_hand(lm: dspy.LM, seen: _Seen) -> None:
    """The strongest simple alternative to a race: two tasks on the same backend, the slower one cancelled."""
    backend = _runtime(lm).backend

    async def first_of_both() -> None:
        written: list[int] = []

        def observe(event: Any) -> None:
            if isinstance(event[1], Completion):
                written.append(event[1].output_tokens)

        began = time.perf_counter()
        tasks = [asyncio.ensure_future(backend.generate(request, observe)) for request in requests]
        _, losers = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        decided = time.perf_counter()
        for task in losers:
            task.cancel()
        if losers:
            await asyncio.wait(losers)
        ended = time.perf_counter()
        seen.wall_s, seen.idle_ms, seen.tokens = ended - began, 1000 * (ended - decided), sum(written)

    requests = _requests(Racers(), lm)
    _runtime(lm).run(first_of_both)


def _requests(program: rf.Program, lm: dspy.LM) -> list[Request]:
    """What the racers' calls are when nobody schedules them."""
    traced, tokenizer = trace(program), _runtime(lm).backend.tokenizer
    calls = [(node.name, node.op.site) for node in traced.plan.walk() if isinstance(node.op, GenerateNode)]
    return [
        Request(
            prompt=template(site).render({"problem": _PROBLEM}, tokenizer),
            sampling=replace(site.sampling, seed=sample_seed(traced.bindings[site.name].seed, name, (number,))),
        )
        for number, (name, site) in enumerate(calls)
    ]


def _cancelled_task(lm: dspy.LM, seen: _Seen) -> None:
    """A task that awaits a run, cancelled in the middle."""
    runtime = _runtime(lm)

    async def main() -> None:
        began = time.perf_counter()
        task = asyncio.ensure_future(Wide().acall(problem=_PROBLEM))
        await asyncio.sleep(RUNNING_S)
        seen.steps_at_cancel = (await runtime.arun(lambda: runtime.backend.counters())).steps
        at = time.perf_counter()
        task.cancel()
        await asyncio.wait([task])
        seen.wall_s, seen.idle_ms = time.perf_counter() - began, 1000 * (time.perf_counter() - at)

    asyncio.run(main())


def _interrupted(lm: dspy.LM, seen: _Seen) -> None:
    """Ctrl-C while the main thread waits for a run."""
    moment: list[float] = []

    def interrupt() -> None:
        seen.steps_at_cancel = _counters(lm).steps
        moment.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    program, timer, began = Wide(), threading.Timer(RUNNING_S, interrupt), time.perf_counter()
    with _raising_interrupts():
        try:
            timer.start()
            program(problem=_PROBLEM)
            timer.join()  # an engine so fast that the run is over is interrupted here
        except KeyboardInterrupt:
            seen.wall_s, seen.idle_ms = time.perf_counter() - began, 1000 * (time.perf_counter() - moment[0])
        timer.join()


@contextmanager
def _raising_interrupts() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt in the main thread, whatever the host program does with it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _out_of_time(lm: dspy.LM, seen: _Seen) -> None:
    """A run that its budget cuts. The engine's steps are asked for at the same moment, on the loop that cuts it."""
    runtime, program = _runtime(lm), Wide()
    program.budget = rf.Budget(seconds=RUNNING_S)

    async def read_at_the_deadline() -> int:
        await asyncio.sleep(RUNNING_S)
        return (await runtime.backend.counters()).steps

    async def main() -> None:
        reading = asyncio.ensure_future(runtime.arun(read_at_the_deadline))
        run = (await program.acall(problem=_PROBLEM)).run
        seen.steps_at_cancel = await reading
        seen.wall_s, seen.idle_ms = run.wall_s, 1000 * max(0.0, run.wall_s - RUNNING_S)

    asyncio.run(main())


ARMS: dict[str, _Arm] = {
    "vote": _to_its_end(Vote(early=False)),
    "quorum": _to_its_end(Vote(early=True)),
    "wait_for_all": _to_its_end(Racers(both=True)),
    "race": _to_its_end(Racers()),
    "asyncio": _by_hand,
    "task": _cancelled_task,
    "interrupt": _interrupted,
    "deadline": _out_of_time,
}


def _runtime(lm: dspy.LM) -> Runtime:
    runtime: Runtime = lm.engine.runtime
    return runtime


def _counters(lm: dspy.LM) -> Counters:
    runtime = _runtime(lm)
    return runtime.run(lambda: runtime.backend.counters())


def _idle(lm: dspy.LM) -> Counters:
    found = _counters(lm)
    assert found.running == found.waiting == 0, f"left in the engine: {found}"
    return found
