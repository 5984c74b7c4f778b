"""What a call over HTTP costs the client: CPU time per call of 64 open at once, against a server in another process.

The server answers a constant after a hundredth of a second. The arms alternate within one run, after a warm-up. CPU
time is that of this whole process, all threads included; the server's is none of it.

`raw` is aiohttp by hand: one session, a body as JSON, the answer read as JSON; `raw_orjson` the same with the quicker
parser that ours uses. `backend` is ours alone, `ours` what `rf.openai` and its runtime make of it; all four are handed
their request ready-made. `program` is a program's whole call, with tracing, rendering, parsing and its record.
`dspy_lm15` and `dspy_litellm` are `dspy.LM` over its two engines, gathered on one loop.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import dspy
import orjson
from dspy import lm15

import reasonflow as rf
from reasonflow.backends.openai import OpenAIBackend
from reasonflow.backends.protocol import Completion, Prompt, Request, Sampling
from reasonflow.errors import InputError, ReasonFlowError
from reasonflow.evals.performance.http_server import ANSWER, MODEL
from reasonflow.evals.performance.report import UNKNOWN, Provenance, Report, Table, cell, provenance, rounded_range

ARMS = ("raw", "raw_orjson", "backend", "ours", "program", "dspy_lm15", "dspy_litellm")
OPEN = 64
"""Calls that are open at once."""
REPEATS = 7
_ROUNDS = 4
"""Waves of open calls in one measurement."""
_MESSAGES = (
    {"role": "system", "content": "Solve the problem step by step. Put the final answer in \\boxed{}. " * 8},
    {"role": "user", "content": "How many primes are below 100?"},
)
_SAMPLING: dict[str, Any] = {"temperature": 0.7, "max_tokens": 512}

Wave: TypeAlias = Callable[[], None]
"""Makes `OPEN` calls at once and returns when every one has its answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Http:
    """All arms of one run, with what is needed to run it again."""

    cpu_ms: dict[str, tuple[float, ...]]
    """By arm, one number per repeat: CPU milliseconds per call."""
    repeats: int
    provenance: Provenance = UNKNOWN

    def median(self, arm: str) -> float:
        return statistics.median(self.cpu_ms[arm])

    def ratio(self, arm: str) -> float:
        """To aiohttp by hand: the median over the repeats of the ratio within each."""
        pairs = zip(self.cpu_ms[arm], self.cpu_ms["raw"], strict=True)
        return statistics.median(mine / raw for mine, raw in pairs)

    def figures(self) -> dict[str, float]:
        """`ours_ms` and `ours_ratio`, and their like of every arm; the three that are compared with their number."""
        times = {f"{arm}_ms": round(self.median(arm), 4) for arm in self.cpu_ms}
        ratios = {f"{arm}_ratio": round(self.ratio(arm), 3) for arm in self.cpu_ms if arm != "raw"}
        return {**times, **ratios, **self._compared()}

    def _compared(self) -> dict[str, float]:
        """Ours, aiohttp by hand, and the quicker of DSPy's two engines."""
        compared = {"ours": ("ours",), "aiohttp": ("raw",), "dspy": ("dspy_lm15", "dspy_litellm")}
        found = {name: [self.median(arm) for arm in arms if arm in self.cpu_ms] for name, arms in compared.items()}
        return {f"{name}_ms_{OPEN}": round(min(times), 4) for name, times in found.items() if times}

    def report(self) -> Report:
        rows = [(arm, cell(times, 3), f"{self.ratio(arm):.2f}") for arm, times in self.cpu_ms.items()]
        return Report(
            benchmark="http",
            unit=f"CPU milliseconds of the client per call, {OPEN} open at once, median; ratios to aiohttp by hand",
            figures=self.figures(),
            spread={f"{arm}_ms": rounded_range(times, 4) for arm, times in self.cpu_ms.items()},
            tables=(
                Table(
                    title=f"CPU ms of the client per call, {OPEN} open at once",
                    columns=("arm", "median (least to most)", "to aiohttp by hand"),
                    rows=tuple(rows),
                ),
            ),
            repeats=self.repeats,
            provenance=self.provenance,
        )


def measure_http(repeats: int = REPEATS, arms: Sequence[str] = ARMS) -> Http:
    """Measure every arm; takes half a minute at the defaults. Raises InputError for no repeats."""
    if repeats < 1:
        raise InputError(f"cannot measure in {repeats} repeats", fix="give a number from 1 up")
    found: dict[str, list[float]] = {arm: [] for arm in arms}
    with ExitStack() as stack:
        base_url = stack.enter_context(_server())
        waves = {arm: stack.enter_context(_OPENED[arm](base_url)) for arm in arms}
        for wave in waves.values():
            wave()
            wave()
        stack.enter_context(_frozen())
        for _ in range(repeats):
            for arm, wave in waves.items():
                found[arm].append(_sample(wave))
    return Http(
        cpu_ms={arm: tuple(times) for arm, times in found.items()},
        repeats=repeats,
        provenance=provenance(("reasonflow", "dspy", "aiohttp", "litellm")),
    )


@contextmanager
def _frozen() -> Iterator[None]:
    """What is imported by now is not looked through again: the collector would charge one arm for another's library."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _sample(wave: Wave) -> float:
    wave()  # the slower arms take so long that idle connections are closed meanwhile
    gc.collect()  # otherwise one arm pays for what another left behind
    began_s = time.process_time()
    for _ in range(_ROUNDS):
        wave()
    return 1000 * (time.process_time() - began_s) / (_ROUNDS * OPEN)


@contextmanager
def _server() -> Iterator[str]:
    command = [sys.executable, "-m", "reasonflow.evals.performance.http_server"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        if not port:
            raise ReasonFlowError("the benchmark's server did not start", why="it ended before it had a port")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.communicate()


async def _all(call: Callable[[], Awaitable[str]]) -> None:
    texts = await asyncio.gather(*(call() for _ in range(OPEN)))
    assert all(text == ANSWER for text in texts), "a call has another answer"


@contextmanager
def _raw(base_url: str, write: Callable[[Any], bytes], read: Callable[[bytes], Any]) -> Iterator[Wave]:
    """Set up as our own session is: what a careful user of aiohttp would write."""
    import aiohttp

    url, body = f"{base_url}/chat/completions", {"model": MODEL, "messages": list(_MESSAGES), **_SAMPLING}

    async def opened() -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(),
        )

    with asyncio.Runner() as runner:
        session = runner.run(opened())

        async def call() -> str:
            async with session.post(url, data=write(body)) as response:
                return str(read(await response.read())["choices"][0]["message"]["content"])

        yield lambda: runner.run(_all(call))
        runner.run(session.close())


_REQUEST = Request(prompt=Prompt(messages=_MESSAGES), sampling=Sampling(temperature=0.7, max_tokens=512))


async def _text(samples: Awaitable[tuple[Completion, ...]]) -> str:
    (completion,) = await samples
    return completion.text


@contextmanager
def _backend(base_url: str) -> Iterator[Wave]:
    with asyncio.Runner() as runner:
        backend = OpenAIBackend(MODEL, base_url=base_url)

        async def call() -> str:
            return await _text(backend.generate(_REQUEST))

        yield lambda: runner.run(_all(call))
        runner.run(backend.aclose())


@contextmanager
def _ours(base_url: str) -> Iterator[Wave]:
    lm = rf.openai(MODEL, base_url=base_url)
    runtime = lm.engine.runtime

    async def call() -> str:
        return await _text(runtime.generate(_REQUEST))

    yield lambda: runtime.run(lambda: _all(call))
    lm.engine.close()


class _Questions(rf.Program):
    """A branch a question, no two equal: every branch is a request of its own."""

    def __init__(self) -> None:
        self.solve = rf.Generate("question -> answer", **_SAMPLING)

    def plan(self, questions: Any) -> Any:
        return rf.each(questions, lambda question: self.solve(question=question), cap=OPEN)


@contextmanager
def _program(base_url: str) -> Iterator[Wave]:
    lm, program = rf.openai(MODEL, base_url=base_url), _Questions()
    questions = [f"How many primes are below {100 + i}?" for i in range(OPEN)]

    def wave() -> None:
        with dspy.context(lm=lm):
            answers = program(questions=questions).completions
        assert len(answers) == OPEN, "a branch has no answer"

    yield wave
    lm.engine.close()


@contextmanager
def _dspy(base_url: str, engine: str | None) -> Iterator[Wave]:
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else it looks for prices on the network first
    chosen = {} if engine is None else {"engine": engine}
    lm = dspy.LM(f"openai/{MODEL}", api_base=base_url, api_key="none", cache=False, **_SAMPLING, **chosen)
    system, user = (message["content"] for message in _MESSAGES)
    request = lm15.Request(model=f"openai/{MODEL}", system=system, messages=(lm15.Message.user(user),))

    async def call() -> str:
        return str((await lm.acall(request)).text)

    with asyncio.Runner() as runner:
        yield lambda: runner.run(_all(call))


_OPENED: dict[str, Callable[[str], Any]] = {
    "raw": lambda base_url: _raw(base_url, lambda body: json.dumps(body).encode(), json.loads),
    "raw_orjson": lambda base_url: _raw(base_url, orjson.dumps, orjson.loads),
    "backend": _backend,
    "ours": _ours,
    "program": _program,
    "dspy_lm15": lambda base_url: _dspy(base_url, None),
    "dspy_litellm": lambda base_url: _dspy(base_url, "litellm"),
}
