"""The arms of the benchmarks of fan-outs: one question asked N times, N answers read, on engines that compute nothing.

Each is a context that gives a `FanOut`. latency_s: seconds that the engine takes for an answer, None for no time at
all. widest: branches that it answers at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Any, TypeAlias

import dspy
from dspy import lm15

import reasonflow as rf
from reasonflow.backends.protocol import Prompt, Request, Sampling
from reasonflow.backends.scripted import ScriptedBackend

_SIGNATURE = "question -> answer"
_QUESTION = "How many primes are below 100?"
_ANSWER = r"There are \boxed{25}."
_MESSAGES = (
    {"role": "system", "content": "Solve the problem step by step. Put the final answer in \\boxed{}."},
    {"role": "user", "content": _QUESTION},
)

FanOut: TypeAlias = Callable[[int], None]
"""Runs one fan-out of that width and returns when every branch has its answer."""
Arm: TypeAlias = Callable[[float | None, int], AbstractContextManager[FanOut]]


# Ours ------------------------------------------------------------------------------------------------------------


class _Branches(rf.Program):
    """One question asked n times, each time as a branch of its own."""

    def __init__(self, n: int) -> None:
        self.solve = rf.Generate(_SIGNATURE)
        self.n = n

    def plan(self, question: Any) -> Any:
        return rf.fork(self.n, lambda: self.solve(question=question))


class _DistinctBranches(rf.Program):
    """A question a branch, no two equal: nothing can be fused, so every branch is rendered and sent by itself."""

    def __init__(self, n: int) -> None:
        self.solve = rf.Generate(_SIGNATURE)
        self.n = n

    def plan(self, questions: Any) -> Any:
        return rf.each(questions, lambda question: self.solve(question=question), cap=self.n)


def ours(latency_s: float | None, widest: int) -> AbstractContextManager[FanOut]:
    """A fork of one question: one request of N samples."""
    return _ours(_Branches, lambda _: {"question": _QUESTION}, latency_s, widest)


def ours_distinct(latency_s: float | None, widest: int) -> AbstractContextManager[FanOut]:
    """A question for each branch."""

    def questions(width: int) -> dict[str, Any]:
        return {"questions": [f"How many primes are below {100 + i}?" for i in range(width)]}

    return _ours(_DistinctBranches, questions, latency_s, widest)


@contextmanager
def _ours(
    made: Callable[[int], rf.Program], inputs: Callable[[int], dict[str, Any]], latency_s: float | None, widest: int
) -> Iterator[FanOut]:
    lm = rf.scripted(_ANSWER, latency=latency_s, max_running=widest)
    program_of = cache(made)

    def fan_out(width: int) -> None:
        program = program_of(width)
        with dspy.context(lm=lm):
            _expect(len(program(**inputs(width)).completions), width)

    try:
        yield fan_out
    finally:
        lm.engine.close()


# By hand ---------------------------------------------------------------------------------------------------------


@contextmanager
def by_hand(latency_s: float | None, widest: int) -> Iterator[FanOut]:
    """The strongest simple alternative: our engine, prompts rendered by hand, `asyncio.gather`."""
    backend = ScriptedBackend(_ANSWER, latency=latency_s, max_running=widest)

    async def ask(place: int) -> str:
        prompt = Prompt(tokens=backend.tokenizer.render(_MESSAGES))
        (sample,) = await backend.generate(Request(prompt=prompt, sampling=Sampling(max_tokens=512, seed=place)))
        return sample.text

    async def ask_all(width: int) -> None:
        _expect(len(await asyncio.gather(*(ask(place) for place in range(width)))), width)

    with asyncio.Runner() as runner:
        yield lambda width: runner.run(ask_all(width))


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

    def __init__(self, latency_s: float | None) -> None:
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


def _no_op_lm(latency_s: float | None) -> dspy.LM:
    """DSPy's language model over engines that answer a constant after that time."""
    return dspy.LM("no-op", engine=_NoOp(latency_s), async_engine=_AsyncNoOp(latency_s), cache=False)


@contextmanager
def dspy_sync(latency_s: float | None, widest: int) -> Iterator[FanOut]:
    """`dspy.Parallel` with a thread a branch: what it takes to have all branches at the engine together."""
    lm, predict, example = _no_op_lm(latency_s), dspy.Predict(_SIGNATURE), dspy.Example(question=_QUESTION)
    pair = (predict, example.with_inputs("question"))

    def fan_out(width: int) -> None:
        with dspy.context(lm=lm):
            parallel = dspy.Parallel(num_threads=width, disable_progress_bar=True)
            _expect(sum(answer is not None for answer in parallel([pair] * width)), width)

    yield fan_out


@contextmanager
def dspy_async(latency_s: float | None, widest: int) -> Iterator[FanOut]:
    """`acall` gathered on one event loop, which stays open as a server's would."""
    lm, predict = _no_op_lm(latency_s), dspy.Predict(_SIGNATURE)

    async def ask(width: int) -> None:
        with dspy.context(lm=lm):
            _expect(len(await asyncio.gather(*(predict.acall(question=_QUESTION) for _ in range(width)))), width)

    with asyncio.Runner() as runner:
        yield lambda width: runner.run(ask(width))


def _expect(answers: int, width: int) -> None:
    assert answers == width, f"{answers} of {width} branches gave an answer"
