"""What a branch costs before any model: CPU time per branch of a fan-out on engines that do nothing.

Every arm asks one question N times and reads N answers: rendering, dispatch and parsing are done, only generation is
free. The arms alternate within one run, after a warm-up. CPU time is the whole process's, all threads included; wall
time is reported beside it.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeAlias

import dspy
from dspy import lm15

import reasonflow as rf
from reasonflow.errors import InputError
from reasonflow.evals.provenance import commit, hardware, versions

WIDTHS = (1, 8, 64, 256)
REPEATS = 7

SIGNATURE = "question -> answer"
QUESTION = "How many primes are below 100?"
ANSWER = r"There are \boxed{25}."
_BRANCHES_PER_SAMPLE = 256
"""A sample repeats narrow fan-outs until it holds so many branches: the clock's steps must not show."""

FanOut: TypeAlias = Callable[[int], None]
"""Runs one fan-out of that width and returns when every branch has its answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One arm at one width. Milliseconds per branch."""

    arm: str
    width: int
    cpu_ms: float
    """Median of the repeats."""
    cpu_ms_range: tuple[float, float]
    """Least and most of the repeats."""
    wall_ms: float
    """Median of the repeats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overhead:
    """All arms of one run, with what is needed to run it again."""

    measurements: tuple[Measurement, ...]
    repeats: int
    versions: dict[str, str] = field(default_factory=dict)
    hardware: dict[str, str] = field(default_factory=dict)
    commit: str | None = None

    def figures(self) -> dict[str, float]:
        """`ours_ms_64` and its like: CPU milliseconds per branch, by arm and width."""
        return {f"{m.arm}_ms_{m.width}": round(m.cpu_ms, 4) for m in self.measurements}

    def of(self, arm: str, width: int) -> Measurement:
        return next(m for m in self.measurements if (m.arm, m.width) == (arm, width))

    def to_json(self) -> dict[str, Any]:
        return {
            "benchmark": "overhead",
            "unit": "CPU milliseconds per branch, median",
            "figures": self.figures(),
            "spread": {f"{m.arm}_ms_{m.width}": [round(ms, 4) for ms in m.cpu_ms_range] for m in self.measurements},
            "wall_ms": {f"{m.arm}_ms_{m.width}": round(m.wall_ms, 4) for m in self.measurements},
            "repeats": self.repeats,
            "versions": self.versions,
            "hardware": self.hardware,
            "commit": self.commit,
        }


def measure_overhead(widths: Sequence[int] = WIDTHS, repeats: int = REPEATS) -> Overhead:
    """Measure every arm at every width; takes about a minute at the defaults. Raises InputError for numbers below 1."""
    if repeats < 1 or not widths or min(widths) < 1:
        raise InputError(f"cannot measure widths {tuple(widths)} in {repeats} repeats", fix="give numbers from 1 up")
    samples: dict[tuple[str, int], list[tuple[float, float]]] = {}
    with _ours() as ours, _ours_distinct() as distinct, _dspy_sync() as sync, _dspy_async() as in_loop:
        arms: dict[str, FanOut] = {"ours": ours, "ours_distinct": distinct, "dspy_sync": sync, "dspy_async": in_loop}
        for width in widths:
            for fan_out in arms.values():
                fan_out(width)
        for _ in range(repeats):
            for width in widths:
                for arm, fan_out in arms.items():
                    samples.setdefault((arm, width), []).append(_sample(fan_out, width))
    return Overhead(
        measurements=tuple(_summary(arm, width, pairs) for (arm, width), pairs in samples.items()),
        repeats=repeats,
        versions=versions(("reasonflow", "dspy", "anyio", "pydantic")),
        hardware=hardware(),
        commit=commit(),
    )


def _sample(fan_out: FanOut, width: int) -> tuple[float, float]:
    """(CPU, wall) milliseconds per branch."""
    rounds = max(1, _BRANCHES_PER_SAMPLE // width)
    gc.collect()  # otherwise one arm pays for what another left behind
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    for _ in range(rounds):
        fan_out(width)
    cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
    branches = rounds * width
    return 1000 * cpu_s / branches, 1000 * wall_s / branches


def _summary(arm: str, width: int, pairs: Sequence[tuple[float, float]]) -> Measurement:
    cpu = [pair[0] for pair in pairs]
    return Measurement(
        arm=arm,
        width=width,
        cpu_ms=statistics.median(cpu),
        cpu_ms_range=(min(cpu), max(cpu)),
        wall_ms=statistics.median(pair[1] for pair in pairs),
    )


# Ours ------------------------------------------------------------------------------------------------------------


class Branches(rf.Program):
    """One question asked n times, each time as a branch of its own."""

    def __init__(self, n: int) -> None:
        self.solve = rf.Generate(SIGNATURE)
        self.n = n

    def plan(self, question: Any) -> Any:
        return rf.fork(self.n, lambda: self.solve(question=question))


class DistinctBranches(rf.Program):
    """A question a branch, no two equal: nothing can be fused, so every branch is rendered and sent by itself."""

    def __init__(self, n: int) -> None:
        self.solve = rf.Generate(SIGNATURE)
        self.n = n

    def plan(self, questions: Any) -> Any:
        return rf.each(questions, lambda question: self.solve(question=question), cap=self.n)


@contextmanager
def _ours() -> Iterator[FanOut]:
    with _scripted() as lm:
        program_of = cache(Branches)

        def fan_out(width: int) -> None:
            program = program_of(width)
            with dspy.context(lm=lm):
                expect(len(program(question=QUESTION).completions), width)

        yield fan_out


@contextmanager
def _ours_distinct() -> Iterator[FanOut]:
    with _scripted() as lm:
        program_of = cache(DistinctBranches)

        def fan_out(width: int) -> None:
            program = program_of(width)
            questions = [f"How many primes are below {100 + i}?" for i in range(width)]
            with dspy.context(lm=lm):
                expect(len(program(questions=questions).completions), width)

        yield fan_out


@contextmanager
def _scripted() -> Iterator[dspy.LM]:
    lm = rf.scripted(ANSWER)
    try:
        yield lm
    finally:
        lm.engine.close()


# DSPy alone ------------------------------------------------------------------------------------------------------


class _NoOp:
    """DSPy's engine contract, answered with one constant after so many seconds."""

    response = lm15.Response(
        id=None,
        model="no-op",
        message=lm15.Message.assistant([lm15.TextPart("[[ ## answer ## ]]\n25\n\n[[ ## completed ## ]]")]),
        finish_reason="stop",
        usage=lm15.Usage(input_tokens=100, output_tokens=10),
    )

    def __init__(self, latency_s: float) -> None:
        self.latency_s = latency_s

    def complete(self, request: Any) -> Any:
        if self.latency_s:
            time.sleep(self.latency_s)
        return self.response

    def stream(self, request: Any) -> Iterator[Any]:
        raise rf.ReasonFlowError("the no-op engine does not stream", why="the benchmark never asks it to")

    def close(self) -> None:
        """Nothing is held."""


class _AsyncNoOp(_NoOp):
    async def complete(self, request: Any) -> Any:
        if self.latency_s:
            await asyncio.sleep(self.latency_s)
        return self.response

    async def aclose(self) -> None:
        """Nothing is held."""


def no_op_lm(latency_s: float = 0.0) -> dspy.LM:
    """DSPy's language model over engines that answer a constant after that time."""
    return dspy.LM("no-op", engine=_NoOp(latency_s), async_engine=_AsyncNoOp(latency_s), cache=False)


@contextmanager
def _dspy_sync() -> Iterator[FanOut]:
    """`dspy.Parallel` with a thread a branch: what it takes to have all branches at the engine together."""
    lm, predict, example = no_op_lm(), dspy.Predict(SIGNATURE), dspy.Example(question=QUESTION)
    pair = (predict, example.with_inputs("question"))

    def fan_out(width: int) -> None:
        with dspy.context(lm=lm):
            parallel = dspy.Parallel(num_threads=width, disable_progress_bar=True)
            expect(sum(answer is not None for answer in parallel([pair] * width)), width)

    yield fan_out


@contextmanager
def _dspy_async() -> Iterator[FanOut]:
    """`acall` gathered on one event loop, which stays open as a server's would."""
    lm, predict = no_op_lm(), dspy.Predict(SIGNATURE)

    async def ask(width: int) -> None:
        with dspy.context(lm=lm):
            expect(len(await asyncio.gather(*(predict.acall(question=QUESTION) for _ in range(width)))), width)

    with asyncio.Runner() as runner:
        yield lambda width: runner.run(ask(width))


def expect(answers: int, width: int) -> None:
    assert answers == width, f"{answers} of {width} branches gave an answer"
