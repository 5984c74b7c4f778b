"""Runs a program over problems: samples beside each other, each recorded as it ends, resumable."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import anyio.to_thread
import dspy

from reasonflow.errors import EngineDead, EngineStartError, InputError, ProgramError
from reasonflow.evals.dataset import Problem
from reasonflow.evals.grading import Grader
from reasonflow.evals.manifest import claimed, describe, write_or_match
from reasonflow.evals.samples import Key, Sample, SampleLog
from reasonflow.runtime.runtime import Runtime

OnSample: TypeAlias = Callable[[Sample], None]

STOPPING = (EngineDead, EngineStartError, ProgramError, InputError)
"""Errors that every further call would repeat. All others cost the sample they happen in."""
CALLS_WITHOUT_ENGINE = 16
"""Calls in flight on a language model that does not say how much it can run at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """All samples of an evaluation."""

    samples: tuple[Sample, ...]
    """In the order of the problems, then of their samples."""
    resumed: int
    """How many an earlier call had left there."""

    @property
    def wall_s(self) -> float:
        """Seconds of all sessions together, from the first call to the last verdict: the engine had started before."""
        last: dict[int, float] = {}
        for sample in self.samples:
            last[sample.session] = max(last.get(sample.session, 0.0), sample.ended_s)
        return sum(last.values())


async def evaluate(
    program: dspy.Module,
    problems: Sequence[Problem],
    *,
    lm: dspy.LM | None = None,
    samples: int = 1,
    seed: int = 0,
    out: str | Path | None = None,
    concurrency: int | None = None,
    on_sample: OnSample | None = None,
    on_kept: OnSample | None = None,
    grader: Grader | None = None,
    benchmark: str = "",
    settings: Mapping[str, Any] | None = None,
) -> Evaluation:
    """Call `program` `samples` times on every problem, grade the answers, and give all samples.

    out: a folder that gets one line per sample as it ends. Called again with equal arguments it goes on where it
        stopped; what is recorded stays as it is. Raises InputError for a folder of another evaluation, and while
        another process writes to it.
    concurrency: program calls in flight; None: as many as the engine runs requests.
    on_sample, on_kept: told of every new sample as it ends, and at the start of every one recorded earlier.
    A call that raises is a wrong sample with the error in it. Errors that would repeat (a dead engine, a program or an
    input that is wrong) are raised at once; so is cancellation. Everything recorded until then is kept.
    """
    lm = lm or dspy.settings.lm
    _check(program, problems, lm, samples, concurrency)
    # First of all: it asks the engine for its fingerprint, and so finds an unknown model before a folder is made.
    manifest = describe(program, problems, lm=lm, samples=samples, seed=seed, benchmark=benchmark, settings=settings)
    with ExitStack() as stack:
        log: SampleLog | None = None
        if out is not None:
            folder = Path(out)
            stack.enter_context(claimed(folder))
            write_or_match(folder, manifest)
            log = SampleLog(folder).open()
            stack.callback(log.close)
            if on_kept is not None:
                for sample in log.kept:
                    on_kept(sample)
        kept = log.kept if log else ()
        jobs = _jobs(problems, samples, {sample.key for sample in kept})
        if jobs:
            await _start(lm)
        session = _Session(program, lm, seed, grader or stack.enter_context(Grader()), log, on_sample)
        await session.run(iter(jobs), concurrency or in_flight(lm))
    done = {sample.key: sample for sample in (*kept, *session.ended)}
    wanted = [(problem.id, index) for problem in problems for index in range(samples)]
    return Evaluation(samples=tuple(done[key] for key in wanted), resumed=len(kept))


def sample_seed(seed: int, problem: str, sample: int) -> int:
    """The seed of one program call: it depends on nothing but these three, so that a resume changes none."""
    digest = blake2b(f"{seed}/{problem}/{sample}".encode(), digest_size=4).digest()
    return int.from_bytes(digest) >> 1  # 31 bits: what every server takes


def in_flight(lm: dspy.LM) -> int:
    """Program calls that keep the engine full: every running call has at least one request in it, or waits for one."""
    runtime = _runtime(lm)
    return CALLS_WITHOUT_ENGINE if runtime is None else max(1, runtime.backend.max_running)


def _runtime(lm: dspy.LM) -> Runtime | None:
    """The runtime of one of our engines; None for other language models."""
    found = getattr(getattr(lm, "engine", None), "runtime", None)
    return found if isinstance(found, Runtime) else None


async def _start(lm: dspy.LM) -> None:
    """Start our engine now, so that its half minute is in no figure."""
    runtime = _runtime(lm)
    if runtime is not None:
        await runtime.arun(runtime.backend.start)


class _Session:
    """One process's share of an evaluation."""

    def __init__(
        self,
        program: dspy.Module,
        lm: dspy.LM,
        seed: int,
        grader: Grader,
        log: SampleLog | None,
        on_sample: OnSample | None,
    ) -> None:
        self.program, self.lm, self.seed = program, lm, seed
        self.grader, self.log, self.on_sample = grader, log, on_sample
        self.ended: list[Sample] = []
        self.number = max((sample.session for sample in log.kept), default=-1) + 1 if log else 0
        self.began = time.perf_counter()

    async def run(self, jobs: Iterator[tuple[Problem, int]], concurrency: int) -> None:
        """All jobs, `concurrency` at a time, in order of their start. Raises the first error that would repeat."""
        stopped: list[Exception] = []
        async with anyio.create_task_group() as group:

            async def work() -> None:
                for problem, index in jobs:  # shared: every worker takes the next one
                    try:
                        self._keep(await self._sample(problem, index))
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
        if self.log is not None:
            self.log.append(sample)
        if self.on_sample is not None:
            self.on_sample(sample)

    async def _sample(self, problem: Problem, index: int) -> Sample:
        """One program call, graded. Raises only what would repeat."""
        seed = sample_seed(self.seed, problem.id, index)
        began = time.perf_counter()
        answer: str | None = None
        error = reason = ""
        correct = False
        try:
            with dspy.context(lm=self.lm.copy(seed=seed), disable_history=True):
                prediction = await self.program.acall(**problem.inputs)
            run = getattr(prediction, "run", None)
            answer = _answer(prediction)
        except Exception as raised:  # a program may raise anything: user code, DSPy's parsers, tools
            if repeats(raised):
                raise
            error, reason, run = f"{type(raised).__name__}: {raised}", "the call failed", getattr(raised, "run", None)
        wall_s = time.perf_counter() - began
        if not error:
            # In a thread: a comparison may take its whole time limit.
            grade = await anyio.to_thread.run_sync(self.grader.grade, problem, answer)
            correct, reason = grade.correct, grade.reason
        return Sample(
            id=problem.id,
            sample=index,
            seed=seed,
            answer=answer,
            expected=problem.answer,
            correct=correct,
            reason=reason,
            wall_s=round(wall_s, 4),
            error=error,
            session=self.number,
            ended_s=round(time.perf_counter() - self.began, 4),
            **_figures(run),
        )


def repeats(error: BaseException) -> bool:
    """Whether every further call would end in the same error: it or what caused it is one of `STOPPING`."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, STOPPING) or (isinstance(seen, BaseExceptionGroup) and any(map(repeats, seen.exceptions))):
            return True
        seen = seen.__cause__
    return False


def _figures(run: Any) -> dict[str, Any]:
    """What a run record says; nothing for modules that keep none."""
    if run is None:
        return {}
    usage = run.usage
    return {
        "sequential_tokens": run.sequential_tokens,
        "token_latency": run.token_latency,
        "total_tokens": usage.total_tokens,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cached_tokens": usage.cached_tokens,
        "complete": run.complete,
        "repairs": tuple(run.repairs),
        "failures": tuple(run.failures),
    }


def _answer(prediction: Any) -> str | None:
    """The answer field. Raises ProgramError where the program has none: it cannot be evaluated then."""
    if "answer" not in prediction:
        raise ProgramError(
            "the program's result has no field 'answer'",
            why=f"it has {', '.join(prediction.keys()) or 'none'}",
            fix='end its signature in answer: "problem -> answer"',
        )
    value = prediction["answer"]
    return None if value is None else str(value)


def _jobs(problems: Sequence[Problem], samples: int, done: set[Key]) -> list[tuple[Problem, int]]:
    """What is left to do, the samples of a problem beside each other: they share its prompt."""
    return [(p, index) for p in problems for index in range(samples) if (p.id, index) not in done]


def _check(
    program: dspy.Module, problems: Sequence[Problem], lm: dspy.LM | None, samples: int, concurrency: int | None
) -> None:
    if lm is None:
        raise InputError(
            "there is no language model to evaluate with", fix="pass lm=rf.vllm(...), or dspy.configure it"
        )
    if not problems:
        raise InputError("there are no problems to evaluate on", fix="pass at least one")
    if samples < 1:
        raise InputError(f"samples={samples}: nothing would run", fix="draw at least one sample per problem")
    if concurrency is not None and concurrency < 1:
        raise InputError(f"concurrency={concurrency}: nothing would run", fix="allow at least one call in flight")
    ids = [problem.id for problem in problems]
    if len(set(ids)) < len(ids):
        twice = next(id for id in ids if ids.count(id) > 1)
        raise InputError(f"two problems have the id {twice!r}", fix="samples are found again by it; make it unique")
    if not isinstance(program, dspy.Module):
        raise InputError(f"{type(program).__name__} is no program", fix="pass a reasonflow.Program or a dspy.Module")
