"""What the order of calls is worth when the KV cache holds a quarter of the prefixes: hits and time, by order.

Every problem has a long prefix of its own and some branches of two calls each: the second reads the prefix and what the
first has written. Sizes follow from the engine: its slots, its blocks, what its cache holds beside running requests.
All arms make the same calls on one engine with an empty cache and forced lengths, after a warm-up.

`ours` submits the program for all problems at once. The others send the same prompts by hand. `depth_first` is strict:
just enough problems in flight to fill the engine, each with a barrier between its stages; the next begins when one has
ended. `adjacent` sends all first calls and then all second ones, branches of a problem beside each other; `round_robin`
the same, but branch after branch, over all problems in turn. The last is stopped after some multiple of our time: its
seconds are a lower bound then, and the report says so. `dspy` is a pair of plain `dspy.Predict` modules on the same
engine, all branches gathered, in DSPy's own layout; its calls pass our scheduler like any others.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import dspy

import reasonflow as rf
from reasonflow.errors import InputError
from reasonflow.evals.performance.by_hand import ByHand
from reasonflow.evals.performance.conditions import (
    LAYOUT,
    check_repeats,
    counters,
    filler,
    forced,
    forget,
    kv_tokens,
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
from reasonflow.evals.performance.trials import by_repeat, over_ours

REPEATS = 1
FIRST, SECOND = 16, 8
"""Tokens that the two calls of a branch write."""
FITTING = 6
"""Prefixes that the cache holds beside the running requests."""
PRESSURE = 4
"""So many times as many there are."""
LONGEST_PREFIX = 0.7
"""Of the engine's window."""
TIMES_OURS = 3.0
"""How long round robin may take, by our time."""
ARMS = ("ours", "depth_first", "adjacent", "dspy", "round_robin")

_QUESTION = "Which of these goods are named more than once?"


class TwoStages(rf.Program):
    """Branches of two calls over one context; a branch goes on as soon as its own first call has ended."""

    def __init__(self, branches: int) -> None:
        self.first = rf.Generate("context, question -> notes", style="text", **forced(FIRST))
        self.second = rf.Generate("context, question, notes -> answer", style="text", **forced(SECOND))
        self.branches = branches
        self.layout = LAYOUT

    def plan(self, context: Any, question: Any) -> Any:
        def branch() -> Any:
            notes = self.first(context=context, question=question).notes
            return self.second(context=context, question=question, notes=notes)

        return {"answers": rf.fork(self.branches, branch)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Of one measurement."""

    slots: int
    """Samples that the engine decodes at once."""
    kv_tokens: int
    problems: int
    branches: int
    """Of each problem."""
    prefix_tokens: int

    @property
    def in_flight(self) -> int:
        """Problems that strict depth first works on at once: one more than fill the slots."""
        return -(-self.slots // self.branches) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One run of one arm over all problems."""

    arm: str
    repeat: int
    wall_s: float
    hit: float
    """Share of the prompt tokens that came from the cache."""
    computed: int
    """Prompt tokens."""
    steps: int
    """Of the engine: a measure of time that a busy machine does not change."""
    done: float
    """Share of the calls that were made: below 1 for an arm that was stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pressure:
    """All trials of one measurement."""

    trials: tuple[Trial, ...]
    sizes: Sizes
    repeats: int
    provenance: Provenance = UNKNOWN

    def of(self, arm: str) -> list[Trial]:
        """By repeat."""
        return by_repeat(self.trials, arm)

    @property
    def stopped(self) -> bool:
        """Whether the seconds of round robin are a lower bound."""
        return any(trial.done < 1 for trial in self.of("round_robin"))

    def over_ours(self, arm: str) -> list[float]:
        """Its time over ours, repeat by repeat."""
        return over_ours(self.trials, arm, lambda trial: trial.wall_s)

    def figures(self) -> dict[str, float]:
        """Medians."""
        found: dict[str, float] = {}
        for arm in ARMS:
            found[f"{arm}_hit"] = round(statistics.median(trial.hit for trial in self.of(arm)), 4)
            found[f"{arm}_s"] = round(statistics.median(trial.wall_s for trial in self.of(arm)), 3)
        for arm in ARMS[1:]:
            found[f"{arm}_over_ours"] = round(statistics.median(self.over_ours(arm)), 3)
        return found

    def report(self) -> Report:
        bound = "round_robin was stopped: its seconds are a lower bound, its hits those of the calls it made."
        return Report(
            benchmark="pressure",
            unit="share of the prompt tokens found in the cache; seconds for all problems; medians",
            figures=self.figures(),
            spread={f"{arm}_s": rounded_range([trial.wall_s for trial in self.of(arm)], 3) for arm in ARMS},
            tables=(self._table(),),
            repeats=self.repeats,
            details={
                "round_robin_is_lower_bound": self.stopped,
                "sizes": asdict(self.sizes),
                "trials": [asdict(trial) for trial in self.trials],
            },
            notes=(bound,) if self.stopped else (),
            provenance=self.provenance,
        )

    def _table(self) -> Table:
        sizes, rows = self.sizes, []
        for arm in ARMS:
            trials = self.of(arm)
            rows.append(
                (
                    arm,
                    f"{100 * statistics.median(trial.hit for trial in trials):.1f} %",
                    f"{statistics.median(trial.computed for trial in trials):.0f}",
                    f"{statistics.median(trial.steps for trial in trials):.0f}",
                    cell([trial.wall_s for trial in trials], 2),
                    cell(self.over_ours(arm), 2),
                    f"{100 * min(trial.done for trial in trials):.0f} %",
                )
            )
        title = (
            f"{sizes.problems} problems of {sizes.branches} branches, prefixes of {sizes.prefix_tokens} tokens; the "
            f"cache holds {sizes.kv_tokens}"
        )
        columns = ("arm", "hits", "tokens computed", "steps", "s", "over ours", "done")
        return Table(title=title, columns=columns, rows=tuple(rows))


def measure_pressure(lm: dspy.LM, repeats: int = REPEATS) -> Pressure:
    """Measure every arm on one of our engines; within a minute on two cores and the small engine of the benchmarks.

    Raises InputError for `repeats` below 1, and for an engine whose cache is too small for its slots.
    """
    check_repeats(repeats)
    start(lm)
    sizes = sizes_of(lm)
    trials: list[Trial] = []
    with dspy.context(disable_history=True):
        for arm in ("ours", "depth_first"):
            _measured(arm, lm, sizes, _contexts(lm, 64, sizes.branches, 0), 0, None)
        contexts = [_contexts(lm, sizes.prefix_tokens, sizes.problems, 1 + number) for number in range(repeats)]
        for repeat, arm in turns(ARMS[:-1], repeats):
            trials.append(_measured(arm, lm, sizes, contexts[repeat - 1], repeat, None))
        for ours in [trial for trial in trials if trial.arm == "ours"]:
            limit_s = TIMES_OURS * ours.wall_s
            trials.append(_measured("round_robin", lm, sizes, contexts[ours.repeat - 1], ours.repeat, limit_s))
    return Pressure(trials=tuple(trials), sizes=sizes, repeats=repeats, provenance=provenance(ENGINE_PACKAGES, lm))


def sizes_of(lm: dspy.LM) -> Sizes:
    """Problems whose prefixes are four times what the started engine's cache holds beside its running requests."""
    backend = runtime_of(lm).backend
    slots, held, block = backend.max_running, kv_tokens(lm), backend.block_size or 1
    branches = min(16, max(2, slots // 4))
    by_hand = ByHand(TwoStages(branches), lm)
    around = len(by_hand.prompt("second", {"context": "", "question": _QUESTION, "notes": ""}).tokens or ())
    own = -(-(around + FIRST + SECOND) // block + 1) * block
    room = held - slots * own
    if room < FITTING * block:
        raise InputError(
            f"a cache of {held} tokens is too small for {slots} running samples",
            why=f"each has about {own} tokens of its own, and {FITTING} prefixes must fit beside them",
            fix="open the engine with a larger cache, or with a smaller max_num_seqs",
        )
    most = (backend.window or held) * LONGEST_PREFIX
    prefix = int(min(room / FITTING, most)) // block * block
    problems = max(2, round(PRESSURE * room / prefix))
    return Sizes(slots=slots, kv_tokens=held, problems=problems, branches=branches, prefix_tokens=prefix)


def _contexts(lm: dspy.LM, tokens: int, count: int, seed: int) -> list[str]:
    tokenizer = runtime_of(lm).backend.tokenizer
    assert tokenizer is not None, "an engine of ours has a tokenizer"
    return [filler(tokenizer, tokens, 10_000 * seed + number) for number in range(count)]


def _measured(
    arm: str, lm: dspy.LM, sizes: Sizes, contexts: Sequence[str], repeat: int, limit_s: float | None
) -> Trial:
    forget(lm)
    before, began = counters(lm), time.perf_counter()
    with recorded(lm) as traffic:
        _RUN[arm](lm, sizes, contexts, repeat, limit_s)
        wall_s = time.perf_counter() - began
    return Trial(
        arm=arm,
        repeat=repeat,
        wall_s=wall_s,
        hit=traffic.hit,
        computed=traffic.computed,
        steps=counters(lm).steps - before.steps,
        done=len(traffic.samples) / (2 * sizes.branches * len(contexts)),
    )


# Arms -------------------------------------------------------------------------------------------------------------

Arm: TypeAlias = Callable[[dspy.LM, Sizes, Sequence[str], int, float | None], None]
"""Runs all problems; returns early when the limit of seconds has passed, if there is one."""
_Branch: TypeAlias = Callable[[], Awaitable[str]]


def _ours(lm: dspy.LM, sizes: Sizes, contexts: Sequence[str], seed: int, limit_s: float | None) -> None:
    program = TwoStages(sizes.branches)

    async def run() -> None:
        with dspy.context(lm=lm.copy(seed=seed)):
            await asyncio.gather(*(program.acall(context=context, question=_QUESTION) for context in contexts))

    asyncio.run(run())


class _Calls:
    """The calls of all branches, to be made in some order."""

    def __init__(self, lm: dspy.LM, sizes: Sizes, contexts: Sequence[str], seed: int) -> None:
        self._by_hand = ByHand(TwoStages(sizes.branches), lm)
        self._contexts, self._seed = contexts, seed
        self._notes: dict[tuple[int, int], str] = {}

    async def first(self, problem: int, branch: int) -> None:
        self._notes[problem, branch] = await self._by_hand.ask("first", self._inputs(problem), self._seed + branch)

    async def second(self, problem: int, branch: int) -> None:
        inputs = {**self._inputs(problem), "notes": self._notes[problem, branch]}
        await self._by_hand.ask("second", inputs, self._seed + branch)

    def _inputs(self, problem: int) -> dict[str, Any]:
        return {"context": self._contexts[problem], "question": _QUESTION}


def _depth_first(lm: dspy.LM, sizes: Sizes, contexts: Sequence[str], seed: int, limit_s: float | None) -> None:
    calls, branches = _Calls(lm, sizes, contexts, seed), range(sizes.branches)
    problems = iter(range(len(contexts)))

    async def work() -> None:
        for problem in problems:  # shared: whoever is free takes the next one
            await asyncio.gather(*(calls.first(problem, branch) for branch in branches))
            await asyncio.gather(*(calls.second(problem, branch) for branch in branches))

    async def run() -> None:
        await asyncio.gather(*(work() for _ in range(sizes.in_flight)))

    runtime_of(lm).run(run)


def _breadth_first(
    lm: dspy.LM, contexts: Sequence[str], sizes: Sizes, seed: int, limit_s: float | None, *, adjacent: bool
) -> None:
    calls, problems, branches = _Calls(lm, sizes, contexts, seed), range(len(contexts)), range(sizes.branches)
    order = (
        [(problem, branch) for problem in problems for branch in branches]
        if adjacent
        else [(problem, branch) for branch in branches for problem in problems]
    )

    async def stages() -> None:
        await asyncio.gather(*(calls.first(*place) for place in order))
        await asyncio.gather(*(calls.second(*place) for place in order))

    async def run() -> None:
        try:
            await asyncio.wait_for(stages(), limit_s)
        except TimeoutError:
            return

    runtime_of(lm).run(run)


def _adjacent(lm: dspy.LM, sizes: Sizes, contexts: Sequence[str], seed: int, limit_s: float | None) -> None:
    _breadth_first(lm, contexts, sizes, seed, limit_s, adjacent=True)


def _dspy(lm: dspy.LM, sizes: Sizes, contexts: Sequence[str], seed: int, limit_s: float | None) -> None:
    program = TwoStages(sizes.branches)
    first, second = dspy.Predict(program.first.signature), dspy.Predict(program.second.signature)
    second.lm = plain_lm(lm, SECOND)

    async def branch(context: str) -> None:
        notes = (await first.acall(context=context, question=_QUESTION)).notes
        await second.acall(context=context, question=_QUESTION, notes=notes)

    async def run() -> None:
        with plain_dspy(lm, FIRST):
            await asyncio.gather(*(branch(context) for context in contexts for _ in range(sizes.branches)))

    asyncio.run(run())


def _round_robin(lm: dspy.LM, sizes: Sizes, contexts: Sequence[str], seed: int, limit_s: float | None) -> None:
    _breadth_first(lm, contexts, sizes, seed, limit_s, adjacent=False)


_RUN: dict[str, Arm] = {
    "ours": _ours,
    "depth_first": _depth_first,
    "adjacent": _adjacent,
    "dspy": _dspy,
    "round_robin": _round_robin,
}
