"""What our runtime leaves of the engine: tokens per second of a program over those of vLLM's own offline loop.

Every arm makes the same calls on one engine: distinct prompts of equal length, forced output lengths between a quarter
and seven quarters of their mean, an empty cache. Were the lengths equal, all slots would begin and end in the same
steps, and whoever sends all prompts at once would never mix prefill and decoding. The prompts of all arms are those
that the program sent in the warm-up, to the token.

`ours` is a program of one branch for each prompt. `raw` is the loop of vLLM's `LLM.generate` on the same engine: every
prompt in, then steps until nothing is left. `asyncio` is `asyncio.gather` over our backend, without program and
scheduler. `dspy` is a plain `dspy.Predict` gathered over the same questions, in DSPy's own layout.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias, runtime_checkable

import dspy

import reasonflow as rf
from reasonflow.backends.protocol import Request, Tokens
from reasonflow.errors import InputError
from reasonflow.evals.performance.conditions import (
    LAYOUT,
    check_repeats,
    filler,
    forced,
    forget,
    runtime_of,
    start,
    turns,
)
from reasonflow.evals.performance.plain_dspy import plain_dspy, plain_lm
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
from reasonflow.evals.performance.traffic import recorded

REPEATS = 3
PROMPT_TOKENS = 64
"""Of the text in each prompt."""
OUTPUT_TOKENS = 64
PARTS = (0.25, 0.5, 0.75, 1.0, 1.0, 1.25, 1.5, 1.75)
"""Of the mean length, question by question."""
ARMS = ("ours", "raw", "asyncio", "dspy")


@runtime_checkable
class Offline(Protocol):
    """A backend with an offline loop of its engine's own."""

    async def offline(self, requests: Sequence[Request]) -> list[Tokens]:
        """What it generates for each of them."""
        ...


class Branches(rf.Program):
    """A call for each question, of one length for each list of them."""

    def __init__(self, cap: int, lengths: Sequence[int]) -> None:
        self.solve = [rf.Generate("question -> answer", style="text", **forced(tokens)) for tokens in lengths]
        self.cap = cap
        self.layout = LAYOUT

    def plan(self, lists: Any) -> Any:
        def asked(solve: rf.Generate, questions: Any) -> Any:
            return rf.each(questions, lambda question: solve(question=question), cap=self.cap)

        return {f"part{place}": asked(solve, lists[place]) for place, solve in enumerate(self.solve)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """Tokens per second of every arm, repeat by repeat."""

    rates: dict[str, tuple[float, ...]]
    """Generated tokens per second, by arm."""
    calls: int
    prompt_tokens: int
    """Of one prompt, on average."""
    output_tokens: int
    """Of a call, on average."""
    repeats: int
    provenance: Provenance = UNKNOWN

    def over_raw(self, arm: str) -> list[float]:
        """Its rate over that of the raw engine, repeat by repeat."""
        return [mine / raw for mine, raw in zip(self.rates[arm], self.rates["raw"], strict=True)]

    def figures(self) -> dict[str, float]:
        """Medians."""
        ratios = {f"{arm}_over_raw": round(statistics.median(self.over_raw(arm)), 4) for arm in ARMS if arm != "raw"}
        return {**ratios, **{f"{arm}_tokens_per_s": round(statistics.median(self.rates[arm]), 1) for arm in ARMS}}

    def report(self) -> Report:
        rows = [(arm, cell(self.rates[arm], 0), cell(self.over_raw(arm), 3)) for arm in ARMS]
        title = f"{self.calls} calls: prompts of {self.prompt_tokens} tokens, {self.output_tokens} generated on average"
        return Report(
            benchmark="engine",
            unit="generated tokens per second, and that over vLLM's own offline loop; medians",
            figures=self.figures(),
            spread={
                **{f"{arm}_over_raw": rounded_range(self.over_raw(arm), 4) for arm in ARMS if arm != "raw"},
                **{f"{arm}_tokens_per_s": rounded_range(self.rates[arm], 1) for arm in ARMS},
            },
            tables=(Table(title=title, columns=("arm", "tokens/s", "over raw"), rows=tuple(rows)),),
            repeats=self.repeats,
            details={
                "calls": self.calls,
                "prompt_tokens": self.prompt_tokens,
                "output_tokens": self.output_tokens,
            },
            provenance=self.provenance,
        )


def measure_engine(
    lm: dspy.LM,
    repeats: int = REPEATS,
    *,
    calls: int | None = None,
    prompt_tokens: int = PROMPT_TOKENS,
    output_tokens: int = OUTPUT_TOKENS,
) -> Engine:
    """Measure every arm on one of our vLLM engines.

    calls: by default twice as many as the engine decodes at once. output_tokens: of a call, on average. Raises
    InputError for `repeats` below 1, and for an engine that has no offline loop.
    """
    check_repeats(repeats)
    start(lm)
    backend = runtime_of(lm).backend
    if not isinstance(backend, Offline):
        raise InputError(f"{lm.model!r} has no offline loop to compare with", fix="measure on rf.vllm(...)")
    tokenizer, calls = backend.tokenizer, calls or 2 * backend.max_running
    assert tokenizer is not None, "an engine of ours has a tokenizer"
    questions = [filler(tokenizer, prompt_tokens, number) for number in range(calls)]
    lengths = [max(1, round(part * output_tokens)) for part in PARTS[:calls]]
    program, lists = Branches(calls, lengths), [questions[n :: len(lengths)] for n in range(len(lengths))]
    rates: dict[str, list[float]] = {arm: [] for arm in ARMS}
    with dspy.context(disable_history=True, lm=lm):
        with recorded(lm) as traffic:
            program(lists=lists)
        # What the samplers of all arms are asked is equal, the seeds too.
        requests = [replace(served.request, n=1, priority=0) for served in traffic.in_order]
        run: dict[str, _Arm] = {
            "ours": lambda: program(lists=lists) and None,
            "raw": lambda: _raw(lm, requests),
            "asyncio": lambda: _by_hand(lm, requests),
            "dspy": lambda: _dspy(lm, questions, lengths),
        }
        for repeat, arm in [*((0, arm) for arm in ARMS), *turns(ARMS, repeats)]:
            forget(lm)
            began = time.perf_counter()
            run[arm]()
            if repeat:
                rates[arm].append(traffic.output_tokens / (time.perf_counter() - began))
    return Engine(
        rates={arm: tuple(found) for arm, found in rates.items()},
        calls=calls,
        prompt_tokens=round(traffic.prompt_tokens / calls),
        output_tokens=round(traffic.output_tokens / calls),
        repeats=repeats,
        provenance=provenance(ENGINE_PACKAGES, lm),
    )


_Arm: TypeAlias = Callable[[], None]


def _raw(lm: dspy.LM, requests: Sequence[Request]) -> None:
    backend: Any = runtime_of(lm).backend
    written = runtime_of(lm).run(lambda: backend.offline(requests))
    lengths = [request.sampling.max_tokens for request in requests]
    assert [len(each) for each in written] == lengths, "a length that was not forced"


def _by_hand(lm: dspy.LM, requests: Sequence[Request]) -> None:
    backend = runtime_of(lm).backend

    async def run() -> None:
        await asyncio.gather(*(backend.generate(request) for request in requests))

    runtime_of(lm).run(run)


def _dspy(lm: dspy.LM, questions: Sequence[str], lengths: Sequence[int]) -> None:
    modules = [dspy.Predict("question -> answer") for _ in lengths]
    for module, tokens in zip(modules, lengths, strict=True):
        module.lm = plain_lm(lm, tokens)

    async def run() -> None:
        with plain_dspy(lm, lengths[0]):
            asked = zip(itertools.cycle(modules), questions, strict=False)
            await asyncio.gather(*(module.acall(question=question) for module, question in asked))

    asyncio.run(run())
