"""How much of a long context the stages of a program share, and what that leaves the engine to compute.

The program is Parallel-Distill-Refine: eight drafts, notes about them, a refinement, each of which reads the same long
context. All arms run it on one engine with an empty cache and forced lengths, alternating, after a warm-up.

`ours` is the program in the layout "shared". `asyncio` sends the same prompts by hand: `asyncio.gather` over the
engine. `dspy` is the same three calls as plain `dspy.Predict` modules on the same engine, the drafts gathered: DSPy's
own layout, instructions first. The ideal is the trie of our own prompts in which every block is computed once; all arms
are measured by it.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import dspy

import reasonflow as rf
from reasonflow.evals.performance.by_hand import ByHand
from reasonflow.evals.performance.conditions import (
    LAYOUT,
    check_repeats,
    filler,
    forced,
    forget,
    runtime_of,
    start,
    turns,
    write_exactly,
)
from reasonflow.evals.performance.plain_dspy import plain_dspy
from reasonflow.evals.performance.prompt_trie import ideal_computed
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
from reasonflow.evals.performance.traffic import Served, Traffic, recorded
from reasonflow.evals.performance.trials import by_repeat

DRAFTS = 8
TOKENS = 48
"""Every call writes."""
REPEATS = 3
CONTEXT_SHARE = 0.6
"""Of the engine's window and of its cache: the context's length where none is given."""
MOST_CONTEXT = 8192
ARMS = ("ours", "asyncio", "dspy")

_QUESTION = "Which of these goods are named more than once?"
_SIGNATURE = "context, question -> answer"

Arm: TypeAlias = Callable[[dspy.LM, str, int], None]
"""Runs the three stages over a context with a seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One run of one arm."""

    arm: str
    repeat: int
    wall_s: float
    prompt_tokens: int
    computed: int
    shares: tuple[float, ...]
    """By stage: the part of the context that its calls found in the cache; of the first stage without the first
    call, which cannot find any."""
    own_ideal: int
    """The least that could have been computed of this arm's prompts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefixes:
    """All trials of one measurement."""

    trials: tuple[Trial, ...]
    context_tokens: int
    repeats: int
    provenance: Provenance = UNKNOWN

    def of(self, arm: str) -> list[Trial]:
        """By repeat."""
        return by_repeat(self.trials, arm)

    def shared(self, arm: str) -> list[float]:
        """The share of the context that the worst of the stages found, one number per repeat."""
        return [min(trial.shares) for trial in self.of(arm)]

    def over_ideal(self, arm: str) -> list[float]:
        """Computed tokens over the ideal of our own prompts in the same repeat."""
        pairs = zip(self.of(arm), self.of("ours"), strict=True)
        return [trial.computed / ours.own_ideal for trial, ours in pairs]

    def figures(self) -> dict[str, float]:
        """Medians. Those of ours have no arm in their name."""
        found: dict[str, float] = {}
        for arm in ARMS:
            prefix = "" if arm == "ours" else f"{arm}_"
            found[f"{prefix}shared_share"] = round(statistics.median(self.shared(arm)), 4)
            found[f"{prefix}computed_over_ideal"] = round(statistics.median(self.over_ideal(arm)), 4)
        for arm in ARMS:
            found[f"{arm}_s"] = round(statistics.median(trial.wall_s for trial in self.of(arm)), 3)
        return found

    def report(self) -> Report:
        spread = {f"{arm}_s": rounded_range([trial.wall_s for trial in self.of(arm)], 3) for arm in ARMS}
        return Report(
            benchmark="prefix",
            unit="share of the context found by the stage that found least; prompt tokens computed over the ideal; "
            "seconds; medians",
            figures=self.figures(),
            spread=spread,
            tables=(self._table(),),
            repeats=self.repeats,
            details={"context_tokens": self.context_tokens, "drafts": DRAFTS, "tokens_per_call": TOKENS},
            provenance=self.provenance,
        )

    def _table(self) -> Table:
        columns = ("arm", "context shared", "computed / ideal", "computed", "of prompt tokens", "s")
        rows = []
        for arm in ARMS:
            trials = self.of(arm)
            rows.append(
                (
                    arm,
                    f"{100 * statistics.median(self.shared(arm)):.1f} %",
                    cell(self.over_ideal(arm), 3),
                    f"{statistics.median(trial.computed for trial in trials):.0f}",
                    f"{statistics.median(trial.prompt_tokens for trial in trials):.0f}",
                    cell([trial.wall_s for trial in trials], 2),
                )
            )
        title = f"PDR, {DRAFTS} drafts over a context of {self.context_tokens} tokens"
        return Table(title=title, columns=columns, rows=tuple(rows))


def measure_prefix(lm: dspy.LM, repeats: int = REPEATS, context_tokens: int | None = None) -> Prefixes:
    """Measure every arm on one of our engines; within a minute on two cores. Each repeat has a context of its own.

    context_tokens: of the long context; by default what the engine's window leaves after the drafts. Raises InputError
    for `repeats` below 1.
    """
    check_repeats(repeats)
    start(lm)
    backend = runtime_of(lm).backend
    assert backend.tokenizer is not None, "an engine of ours has a tokenizer"
    if context_tokens is None:
        room = (backend.window or 2 * MOST_CONTEXT) - 2 * DRAFTS * TOKENS
        context_tokens = max(64, min(int(CONTEXT_SHARE * room), MOST_CONTEXT))
    contexts = [filler(backend.tokenizer, context_tokens, seed) for seed in range(repeats + 1)]
    with dspy.context(disable_history=True):
        for arm in ARMS:
            _measured(arm, lm, filler(backend.tokenizer, 64, 0), 0)
        trials = [_measured(arm, lm, contexts[repeat], repeat) for repeat, arm in turns(ARMS, repeats)]
    return Prefixes(
        trials=tuple(trials),
        context_tokens=context_tokens,
        repeats=repeats,
        provenance=provenance(ENGINE_PACKAGES, lm),
    )


def _measured(arm: str, lm: dspy.LM, context: str, repeat: int) -> Trial:
    forget(lm)
    began = time.perf_counter()
    with recorded(lm) as traffic:
        _RUN[arm](lm, context, repeat)
        wall_s = time.perf_counter() - began
    backend = runtime_of(lm).backend
    assert backend.tokenizer is not None
    asked = [(served.prompt, served.output) for served in traffic.samples]
    return Trial(
        arm=arm,
        repeat=repeat,
        wall_s=wall_s,
        prompt_tokens=traffic.prompt_tokens,
        computed=traffic.computed,
        shares=_shares(traffic, backend.tokenizer.encode(context)),
        own_ideal=ideal_computed(asked, backend.block_size or 1),
    )


def _shares(traffic: Traffic, context: tuple[int, ...]) -> tuple[float, ...]:
    """Of the drafts, of the notes, of the refinement: the stages wait for one another, so the order tells them."""
    samples = traffic.in_order
    assert len(samples) == DRAFTS + 2, f"{len(samples)} calls instead of {DRAFTS + 2}"
    stages = (samples[1:DRAFTS], samples[DRAFTS : DRAFTS + 1], samples[DRAFTS + 1 :])
    return tuple(statistics.mean(_found(served, context) for served in stage) for stage in stages)


def _found(served: Served, context: tuple[int, ...]) -> float:
    """The part of the context that the sample did not compute. Blocks that end inside count as far as they go."""
    inside = context[8:24]  # where the context meets other text its tokens may be others
    starts = range(len(served.prompt) - len(inside) + 1)
    at = next((at - 8 for at in starts if served.prompt[at : at + len(inside)] == inside), None)
    assert at is not None, "a prompt without the context"
    return min(max(served.cached - at, 0), len(context)) / len(context)


# Arms -------------------------------------------------------------------------------------------------------------


def pdr(tokens: int = TOKENS) -> rf.PDR:
    """The program: one round of drafts, notes, a refinement."""
    program = rf.PDR(_SIGNATURE, widths=(DRAFTS,), config=forced(tokens), workspace_tokens=tokens)
    write_exactly(program, tokens)
    program.layout = LAYOUT
    return program


def _ours(lm: dspy.LM, context: str, seed: int) -> None:
    with dspy.context(lm=lm.copy(seed=seed)):
        pdr()(context=context, question=_QUESTION)


def _by_hand(lm: dspy.LM, context: str, seed: int) -> None:
    program = pdr()
    by_hand, inputs = ByHand(program, lm), {"context": context, "question": _QUESTION}

    async def run() -> None:
        drafts = await asyncio.gather(*(by_hand.ask("draft", inputs, 1000 * seed + i) for i in range(DRAFTS)))
        notes = await by_hand.ask("distill", {**inputs, program.drafts: list(drafts)}, seed)
        await by_hand.ask("refine", {**inputs, program.workspace: notes}, seed)

    runtime_of(lm).run(run)


def _dspy(lm: dspy.LM, context: str, seed: int) -> None:
    program = pdr()
    draft, distill, refine = (dspy.Predict(site.signature) for site in (program.draft, program.distill, program.refine))
    inputs = {"context": context, "question": _QUESTION}

    async def run() -> None:
        with plain_dspy(lm, TOKENS):
            drafts = await asyncio.gather(*(draft.acall(**inputs) for _ in range(DRAFTS)))
            texts = [each.answer for each in drafts]
            notes = await distill.acall(**inputs, **{program.drafts: texts})
            await refine.acall(**inputs, **{program.workspace: notes[program.workspace]})

    asyncio.run(run())


_RUN: dict[str, Arm] = {"ours": _ours, "asyncio": _by_hand, "dspy": _dspy}
