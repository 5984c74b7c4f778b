"""How long a fan-out takes on an engine that answers every branch after the same time: wall time over that time.

The engine takes any number of branches at once, so the ideal is its own latency; what is above it is time that branches
wait for one another. All arms ask one question N times, alternating within one run, after a warm-up.

`ours` is a fork of one question, which is one request of N samples; `ours_distinct` has a question for each branch, so
that every branch is rendered and sent by itself. `asyncio` is the strongest simple alternative: the same engine,
prompts rendered by hand, `asyncio.gather`. `dspy` is `acall` gathered on one loop, `dspy_threads` is `dspy.Parallel`
with a thread a branch, both over engines of DSPy's contract that do nothing but wait.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeAlias

import dspy

import reasonflow as rf
from reasonflow.backends.protocol import Prompt, Request, Sampling
from reasonflow.backends.scripted import ScriptedBackend
from reasonflow.errors import InputError
from reasonflow.evals.performance.overhead import (
    ANSWER,
    QUESTION,
    SIGNATURE,
    Branches,
    DistinctBranches,
    FanOut,
    expect,
    no_op_lm,
)
from reasonflow.evals.provenance import commit, hardware, versions

ARMS = ("ours", "ours_distinct", "asyncio", "dspy", "dspy_threads")
WIDTHS = (64, 256, 1024)
LATENCY_S = 0.2
REPEATS = 5
_MESSAGES = (
    {"role": "system", "content": "Solve the problem step by step. Put the final answer in \\boxed{}."},
    {"role": "user", "content": QUESTION},
)

Opened: TypeAlias = Callable[[float, int], Any]
"""Gives a context with an arm's `FanOut`, for a latency in seconds and the widest fan-out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FanOuts:
    """All arms of one run, with what is needed to run it again."""

    wall_s: dict[tuple[str, int], tuple[float, ...]]
    """By arm and width, one number per repeat."""
    latency_s: float
    """Of the engine: the ideal."""
    repeats: int
    versions: dict[str, str] = field(default_factory=dict)
    hardware: dict[str, str] = field(default_factory=dict)
    commit: str | None = None

    def over_ideal(self, arm: str, width: int) -> tuple[float, float, float]:
        """Median, least and most of the repeats."""
        ratios = [wall / self.latency_s for wall in self.wall_s[arm, width]]
        return statistics.median(ratios), min(ratios), max(ratios)

    def figures(self) -> dict[str, float]:
        """`ours_over_ideal_256` and its like: wall time over the engine's latency, by arm and width."""
        return {f"{arm}_over_ideal_{width}": round(self.over_ideal(arm, width)[0], 4) for arm, width in self.wall_s}

    def to_json(self) -> dict[str, Any]:
        spread = {key: [round(number, 4) for number in self.over_ideal(*key)[1:]] for key in self.wall_s}
        return {
            "benchmark": "fanout",
            "unit": f"wall time over the engine's latency of {self.latency_s:g} s, median",
            "figures": self.figures(),
            "spread": {f"{arm}_over_ideal_{width}": found for (arm, width), found in spread.items()},
            "repeats": self.repeats,
            "versions": self.versions,
            "hardware": self.hardware,
            "commit": self.commit,
        }


def measure_fanout(
    widths: Sequence[int] = WIDTHS, repeats: int = REPEATS, *, latency_s: float = LATENCY_S, arms: Sequence[str] = ARMS
) -> FanOuts:
    """Measure every arm at every width; takes about a minute at the defaults. Raises InputError for numbers below 1."""
    if repeats < 1 or not widths or min(widths) < 1 or latency_s <= 0:
        raise InputError(
            f"cannot measure widths {tuple(widths)} in {repeats} repeats at {latency_s:g} s",
            fix="give numbers from 1 up, and a latency above 0",
        )
    found: dict[tuple[str, int], list[float]] = {}
    with ExitStack() as stack:
        opened = {arm: stack.enter_context(_OPENED[arm](latency_s, max(widths))) for arm in arms}
        for fan_out in opened.values():
            fan_out(min(widths))
        for width in widths:
            for _ in range(repeats):
                for arm, fan_out in opened.items():
                    gc.collect()  # otherwise one arm pays for what another left behind
                    began = time.perf_counter()
                    fan_out(width)
                    found.setdefault((arm, width), []).append(time.perf_counter() - began)
    return FanOuts(
        wall_s={key: tuple(walls) for key, walls in found.items()},
        latency_s=latency_s,
        repeats=repeats,
        versions=versions(("reasonflow", "dspy", "anyio")),
        hardware=hardware(),
        commit=commit(),
    )


@contextmanager
def _ours(latency_s: float, widest: int) -> Iterator[FanOut]:
    with _scripted(latency_s, widest) as lm:
        program_of = cache(Branches)

        def fan_out(width: int) -> None:
            with dspy.context(lm=lm):
                expect(len(program_of(width)(question=QUESTION).completions), width)

        yield fan_out


@contextmanager
def _ours_distinct(latency_s: float, widest: int) -> Iterator[FanOut]:
    with _scripted(latency_s, widest) as lm:
        program_of = cache(DistinctBranches)

        def fan_out(width: int) -> None:
            questions = [f"{QUESTION} Then add {i}." for i in range(width)]
            with dspy.context(lm=lm):
                expect(len(program_of(width)(questions=questions).completions), width)

        yield fan_out


@contextmanager
def _scripted(latency_s: float, widest: int) -> Iterator[dspy.LM]:
    lm = rf.scripted(ANSWER, latency=latency_s, max_running=widest)
    try:
        yield lm
    finally:
        lm.engine.close()


@contextmanager
def _by_hand(latency_s: float, widest: int) -> Iterator[FanOut]:
    backend = ScriptedBackend(ANSWER, latency=latency_s, max_running=widest)

    async def ask(place: int) -> str:
        prompt = Prompt(tokens=backend.tokenizer.render(_MESSAGES))
        (sample,) = await backend.generate(Request(prompt=prompt, sampling=Sampling(max_tokens=512, seed=place)))
        return sample.text

    async def ask_all(width: int) -> None:
        expect(len(await asyncio.gather(*(ask(place) for place in range(width)))), width)

    with asyncio.Runner() as runner:
        yield lambda width: runner.run(ask_all(width))


@contextmanager
def _dspy(latency_s: float, widest: int) -> Iterator[FanOut]:
    lm, predict = no_op_lm(latency_s), dspy.Predict(SIGNATURE)

    async def ask(width: int) -> None:
        with dspy.context(lm=lm):
            expect(len(await asyncio.gather(*(predict.acall(question=QUESTION) for _ in range(width)))), width)

    with asyncio.Runner() as runner:
        yield lambda width: runner.run(ask(width))


@contextmanager
def _dspy_threads(latency_s: float, widest: int) -> Iterator[FanOut]:
    lm, predict = no_op_lm(latency_s), dspy.Predict(SIGNATURE)
    pair = (predict, dspy.Example(question=QUESTION).with_inputs("question"))

    def fan_out(width: int) -> None:
        with dspy.context(lm=lm):
            parallel = dspy.Parallel(num_threads=width, disable_progress_bar=True)
            expect(sum(answer is not None for answer in parallel([pair] * width)), width)

    yield fan_out


_OPENED: dict[str, Opened] = {
    "ours": _ours,
    "ours_distinct": _ours_distinct,
    "asyncio": _by_hand,
    "dspy": _dspy,
    "dspy_threads": _dspy_threads,
}
