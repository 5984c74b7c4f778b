"""One process's share of an evaluation: program calls beside each other, each judged and recorded as it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from typing import Any, TypeAlias

import anyio
import anyio.to_thread
import dspy

from reasonflow.errors import BudgetExceeded
from reasonflow.evals.dataset import Problem
from reasonflow.evals.judging import Judge, Verdict, recorded_answer, repeats
from reasonflow.evals.record import Record
from reasonflow.evals.samples import Key, Sample
from reasonflow.plan.budget import Budget
from reasonflow.runtime.ambient import surrounded
from reasonflow.runtime.events import Watch
from reasonflow.runtime.ledger import Ledger
from reasonflow.runtime.spending import Spending

OnSample: TypeAlias = Callable[[Sample], None]
OnPrediction: TypeAlias = Callable[[Key, Any], None]
Follow: TypeAlias = Callable[[Key], Watch]


@dataclass(frozen=True, slots=True, kw_only=True)
class Audience:
    """Who is told, and of what."""

    on_sample: OnSample | None = None
    """Every new sample, as it ends."""
    on_kept: OnSample | None = None
    """At the start, every sample recorded earlier."""
    on_prediction: OnPrediction | None = None
    """What every new run gave, before it is judged."""
    follow: Follow | None = None
    """Gives the listener for the events of one sample's run. It is called on the engine's thread."""


@dataclass(frozen=True, slots=True)
class _Ended:
    """What a program call gave: a prediction or an error, and the record of its run if it keeps one."""

    prediction: Any
    error: BaseException | None
    run: Any
    wall_s: float

    @property
    def cut(self) -> str:
        """What cut it short; empty for a run that came to its end."""
        said = getattr(self.run, "cut", "")
        return said or (self.error.what if isinstance(self.error, BudgetExceeded) else "")


class Session:
    """Runs jobs, each a problem and the number of a sample."""

    def __init__(
        self,
        program: dspy.Module,
        lm: dspy.LM,
        judge: Judge,
        *,
        seed: int,
        budget: Budget,
        spending: Spending | None,
        record: Record | None,
        audience: Audience,
    ) -> None:
        self.program, self.lm, self.judge, self.seed = program, lm, judge, seed
        self.budget, self.spending, self.record, self.audience = budget, spending, record, audience
        self.ended: list[Sample] = []
        self.number = max((sample.session for sample in record.kept), default=-1) + 1 if record else 0
        self.began = time.perf_counter()

    async def run(self, jobs: Iterator[tuple[Problem, int]], concurrency: int) -> None:
        """All jobs, `concurrency` at a time, in order of their start; fewer where the shared budget ends them.

        Raises the first error that would repeat.
        """
        stopped: list[Exception] = []
        threads = anyio.CapacityLimiter(concurrency)
        async with anyio.create_task_group() as group:

            async def work() -> None:
                for problem, index in jobs:  # shared: every worker takes the next one
                    try:
                        sample = await self._sample(problem, index, threads)
                        if sample is not None:
                            self._keep(sample)
                    except Exception as error:
                        # Kept aside, since a task group would wrap it; the others' calls leave the engine at once.
                        stopped.append(error)
                        group.cancel_scope.cancel()
                        return

            for _ in range(concurrency):
                group.start_soon(work)
        if stopped:
            raise stopped[0]

    def _keep(self, sample: Sample) -> None:
        self.ended.append(sample)
        if self.record is not None:
            self.record.append(sample)
        if self.audience.on_sample is not None:
            self.audience.on_sample(sample)

    async def _sample(self, problem: Problem, index: int, threads: anyio.CapacityLimiter) -> Sample | None:
        """One program call, judged; None where the shared budget did not allow it. Raises only what would repeat."""
        key, seed = (problem.id, index), sample_seed(self.seed, problem.id, index)
        if self.spending is None:
            ended = await self._call(problem, key, seed, None, threads)
        else:
            async with self.spending.run() as ledger:
                if ledger is None:
                    return None
                ended = await self._call(problem, key, seed, ledger, threads)
            if self._spoilt(key, ended, ledger, self.spending):
                return None
        verdict = Verdict(correct=False, reason="the call failed")
        if ended.error is None:
            if self.audience.on_prediction is not None:
                self.audience.on_prediction(key, ended.prediction)
            verdict = await self.judge(problem, ended.prediction)
        return self._judged(problem, index, seed, ended, verdict)

    def _spoilt(self, key: Key, ended: _Ended, ledger: Ledger, spending: Spending) -> bool:
        """Whether the shared budget cut or squeezed a run, so that it is no result. A larger budget repeats it."""
        less = ended.run is not None and ended.run.squeezed
        if not (ended.cut or less) or not spending.is_to_blame(ledger, self.budget):
            return False
        if less and self.record is not None:
            self.record.forget(key)  # texts that were cut short would be taken for whole ones
        return True

    async def _call(
        self, problem: Problem, key: Key, seed: int, ledger: Ledger | None, threads: anyio.CapacityLimiter
    ) -> _Ended:
        began = time.perf_counter()
        prediction: Any = None
        error: BaseException | None = None
        try:
            with self._surrounded(key, ledger), dspy.context(lm=self.lm.copy(seed=seed), disable_history=True):
                if hasattr(self.program, "aforward"):
                    prediction = await self.program.acall(**problem.inputs)
                else:
                    call = partial(self.program, **problem.inputs)
                    prediction = await anyio.to_thread.run_sync(call, limiter=threads)
        except Exception as raised:  # a program may raise anything: user code, DSPy's parsers, tools
            if repeats(raised):
                raise
            error = raised
        run = getattr(prediction if error is None else error, "run", None)
        return _Ended(prediction, error, run, time.perf_counter() - began)

    @contextmanager
    def _surrounded(self, key: Key, ledger: Ledger | None) -> Iterator[None]:
        """What the sample's runs pick up; what surrounds the evaluation itself stays where it has nothing to say."""
        changes: dict[str, Any] = {}
        if ledger is not None:
            changes["ledger"] = ledger
        if self.record is not None:
            changes["journal"] = self.record.journal(key)
        if self.audience.follow is not None:
            changes["watch"] = self.audience.follow(key)
        with surrounded(**changes):
            yield

    def _judged(self, problem: Problem, index: int, seed: int, ended: _Ended, verdict: Verdict) -> Sample:
        error = ended.error
        return Sample(
            id=problem.id,
            sample=index,
            seed=seed,
            answer=None if error else recorded_answer(ended.prediction, problem.output),
            expected=problem.answer,
            correct=verdict.correct,
            score=verdict.score,
            reason=verdict.reason,
            wall_s=round(ended.wall_s, 4),
            error=f"{type(error).__name__}: {error}" if error else "",
            cut=ended.cut,
            session=self.number,
            ended_s=round(time.perf_counter() - self.began, 4),
            **figures(ended.run),
        )


def sample_seed(seed: int, problem: str, sample: int) -> int:
    """The seed of one program call: it depends on nothing but these three, so that a resume changes none."""
    digest = blake2b(f"{seed}/{problem}/{sample}".encode(), digest_size=4).digest()
    return int.from_bytes(digest) >> 1  # 31 bits: what every server takes


def figures(run: Any) -> dict[str, Any]:
    """What a run record says; nothing for modules that keep none."""
    if run is None:
        return {}
    usage = run.usage
    return {
        "sequential_tokens": run.sequential_tokens,
        "token_latency": run.token_latency,
        "calls": usage.calls,
        "total_tokens": usage.total_tokens,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cached_tokens": usage.cached_tokens,
        "complete": run.complete,
        "squeezed": run.squeezed,
        "repairs": tuple(run.repairs),
        "failures": tuple(run.failures),
    }
