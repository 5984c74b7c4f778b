"""How long a search takes against the longest way through what it has to look up.

Gold decompositions drive the programs: a scripted model asks for what the annotation says, when it says so, and knows
every answer. What is measured is the waiting that a program adds: turns that wait for their slowest query, and, as the
released script of HybridDeepSearcher does it (arXiv 2508.19113), questions that wait for each other.
"""

from __future__ import annotations

import asyncio
import math
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, TypeAlias

import anyio
import dspy

import reasonflow as rf
from reasonflow.errors import InputError
from reasonflow.evals.dataset import Problem, answer_text
from reasonflow.evals.evidence import Step
from reasonflow.evals.performance.report import UNKNOWN, Provenance, Report, Table, provenance
from reasonflow.programs.hybrid_search import HybridSearch
from reasonflow.programs.planned_search import PlannedSearch
from reasonflow.programs.query_blocks import BEGIN, END, RESULTS_END
from reasonflow.programs.search_steps import Step as Planned
from reasonflow.programs.search_steps import filled

RETRIEVER_S = 0.2
MODEL_S = 0.02
"""Of a call of the model, whatever it writes."""
BATCH = 16
"""Questions in lock step: the released script's."""
Arm: TypeAlias = Callable[[Sequence["Gold"], "Engine"], Awaitable[list[float]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gold:
    """A question with its decomposition."""

    question: str
    queries: tuple[str, ...]
    """Of each step, with the answers that it needs in it."""
    answers: tuple[str, ...]
    needs: tuple[tuple[int, ...], ...]
    """Of each step, the places of those it needs."""

    @property
    def steps(self) -> list[dict[str, Any]]:
        """As PlannedSearch takes them."""
        return [{"question": q, "needs": list(n)} for q, n in zip(self.queries, self.needs, strict=True)]

    @property
    def levels(self) -> list[list[str]]:
        """The queries of each turn: those whose needs have been answered in earlier ones."""
        level: list[int] = []
        for needs in self.needs:
            level.append(1 + max((level[need] for need in needs), default=-1))
        return [[q for q, at in zip(self.queries, level, strict=True) if at == n] for n in range(max(level) + 1)]

    def longest(self, seconds: Callable[[str], float]) -> float:
        """Seconds of the longest way through the steps."""
        ends: list[float] = []
        for query, needs in zip(self.queries, self.needs, strict=True):
            ends.append(max((ends[need] for need in needs), default=0.0) + seconds(query))
        return max(ends)


class Engine:
    """A retriever and a model that take their time, and know everything."""

    def __init__(self, golds: Sequence[Gold], *, spread: float, seed: int) -> None:
        """spread: of the logarithm of a query's seconds, around their median RETRIEVER_S."""
        self._spread, self._seed = spread, seed
        self._golds = {gold.question: gold for gold in golds}
        self._answers = {query: a for gold in golds for query, a in zip(gold.queries, gold.answers, strict=True)}
        self.lm: dspy.LM = rf.scripted(self._write, latency=MODEL_S, max_running=4096, window=1_000_000)

    def seconds(self, query: str) -> float:
        """Of a search. Equal queries take equally long, in every arm."""
        return RETRIEVER_S * math.exp(Random(f"{self._seed}/{query}").gauss(0.0, self._spread))

    async def search(self, query: str) -> list[str]:
        """A page that answers the query."""
        await anyio.sleep(self.seconds(query))
        return [self._answers[query]]

    def _write(self, prompt: str, seed: int | None, index: int) -> str:
        if "from the pages" in prompt:  # a sub-question of PlannedSearch
            return next(line for line in prompt.splitlines() if line in self._answers.values())
        gold = max((g for q, g in self._golds.items() if q in prompt), key=lambda gold: len(gold.question))
        done = prompt.count(RESULTS_END)
        turns = [[query] for query in gold.queries] if "write one query" in prompt else gold.levels
        if "The findings are" in prompt or done >= len(turns):
            return r"\boxed{known}"
        return f"{BEGIN}\n" + ";\n".join(turns[done]) + f"\n{END}"


async def planned(golds: Sequence[Gold], engine: Engine) -> list[float]:
    """Each sub-question as soon as what it needs is known."""
    program = PlannedSearch(
        "question -> answer", engine.search, given="steps", steps=max(len(g.queries) for g in golds)
    )
    return await _timed(golds, lambda gold: program.acall(question=gold.question, steps=gold.steps))


async def in_turns(golds: Sequence[Gold], engine: Engine) -> list[float]:
    """All that is known to be needed at once, in turns."""
    return await _searched(golds, engine)


async def one_by_one(golds: Sequence[Gold], engine: Engine) -> list[float]:
    """One query a turn."""
    return await _searched(golds, engine, sequential=True)


async def in_lock_step(golds: Sequence[Gold], engine: Engine) -> list[float]:
    """As the released script: every turn of a batch waits for the slowest query of all its questions."""
    began = time.perf_counter()
    ended: dict[str, float] = {}
    turn = 0
    while len(ended) < len(golds):
        await anyio.sleep(MODEL_S)
        asked = [query for gold in golds if turn < len(gold.levels) for query in gold.levels[turn]]
        for gold in golds:
            if turn == len(gold.levels):
                ended[gold.question] = time.perf_counter() - began
        await asyncio.gather(*map(engine.search, asked))
        turn += 1
    return [ended[gold.question] for gold in golds]


ARMS: dict[str, Arm] = {
    "planned": planned, "turns": in_turns, "one query a turn": one_by_one, "lock step": in_lock_step,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """Of every arm, the seconds of each question; and of each question those of its longest way."""

    seconds: dict[str, list[float]]
    longest: list[float]
    questions: int
    beside: int
    """Questions at a time; in lock step BATCH."""
    spread: float
    provenance: Provenance = UNKNOWN

    def ratios(self, arm: str) -> list[float]:
        return [took / least for took, least in zip(self.seconds[arm], self.longest, strict=True)]

    def report(self) -> Report:
        figures = {f"{_name(arm)}_over_critical_path": _mean(self.ratios(arm)) for arm in self.seconds}
        figures |= {f"{_name(arm)}_s": _mean(seconds) for arm, seconds in self.seconds.items()}
        return Report(
            benchmark="search",
            unit="seconds of a question over those of the longest way through its look-ups",
            figures={name: round(figure, 4) for name, figure in figures.items()},
            tables=(
                Table(
                    title=f"{self.questions} questions, {self.beside} at a time; a search takes {RETRIEVER_S:g} s,"
                    f" spread {self.spread:g}, a call of the model {MODEL_S:g} s",
                    columns=("arm", "seconds a question", "over the longest way", "the worst tenth from"),
                    rows=tuple(self._row(arm) for arm in self.seconds),
                ),
            ),
            repeats=1,
            details={"questions": self.questions, "beside": self.beside, "spread": self.spread},
            notes=(
                "the longest way has a call of the model behind each look-up, which reads it, and one at the end;"
                f" turns make one more each, and lock step, of {BATCH} questions, makes none that reads",
            ),
            provenance=self.provenance,
        )

    def _row(self, arm: str) -> tuple[str, ...]:
        ratios = self.ratios(arm)
        return (
            arm,
            f"{_mean(self.seconds[arm]):.2f}",
            f"{_mean(ratios):.3f}",
            f"{sorted(ratios)[len(ratios) * 9 // 10]:.3f}",
        )


def measure_search(problems: Sequence[Problem], *, beside: int = 1, spread: float = 0.0, seed: int = 0) -> Waits:
    """Every arm on the same questions, so many at a time. Raises InputError where no problem has a decomposition."""
    golds = [gold_of(problem) for problem in problems if problem.evidence.steps]
    if not golds:
        raise InputError(
            "no question has a decomposition",
            why="without one nobody knows what would have to be looked up",
            fix="take musique, 2wiki or fanoutqa, with --data FILE of rows that have it",
        )
    engine = Engine(golds, spread=spread, seed=seed)
    seconds: dict[str, list[float]] = {}
    try:
        for arm, run in ARMS.items():
            seconds[arm] = []
            at_once = BATCH if run is in_lock_step else beside
            for start in range(0, len(golds), at_once):
                with dspy.context(lm=engine.lm):
                    seconds[arm] += asyncio.run(run(golds[start : start + at_once], engine))  # type: ignore[arg-type]
    finally:
        engine.lm.engine.close()
    return Waits(
        seconds=seconds,
        longest=[_way(gold, engine) for gold in golds],
        questions=len(golds),
        beside=beside,
        spread=spread,
        provenance=provenance(("reasonflow", "dspy")),
    )


def gold_of(problem: Problem) -> Gold:
    """The annotated steps, with gold answers filled in where a step needs them."""
    steps: Sequence[Step] = problem.evidence.steps
    places = {step.id: place for place, step in enumerate(steps)}
    needs = tuple(tuple(places[other] for other in step.depends_on) for step in steps)
    answers = tuple(" ".join(answer_text(step.answer).split()) or "unknown" for step in steps)
    known = dict(enumerate(answers))
    # Two steps may ask the same: each counts.
    queries = [filled(Planned(step.question), known) for step in steps]
    queries = [f"{query} ({place + 1})" if query in queries[:place] else query for place, query in enumerate(queries)]
    question = str(next(iter(problem.inputs.values())))
    return Gold(question=question, queries=tuple(queries), answers=answers, needs=needs)


def _way(gold: Gold, engine: Engine) -> float:
    """Seconds of the longest way through the look-ups: each with a call of the model that reads it, and one that
    answers. Turns take a call more each, lock step takes none that reads."""
    return gold.longest(lambda query: engine.seconds(query) + MODEL_S) + MODEL_S


async def _searched(golds: Sequence[Gold], engine: Engine, **options: Any) -> list[float]:
    most = max(len(gold.queries) for gold in golds)
    program = HybridSearch("question -> answer", engine.search, turns=most + 1, queries=most, **options)
    return await _timed(golds, lambda gold: program.acall(question=gold.question))


async def _timed(golds: Sequence[Gold], run: Callable[[Gold], Awaitable[Any]]) -> list[float]:
    """Seconds of each question, all side by side."""

    async def one(gold: Gold) -> float:
        began = time.perf_counter()
        out = await run(gold)
        assert out.answer == "known", "the gold decomposition leads to the answer"
        return time.perf_counter() - began

    return list(await asyncio.gather(*map(one, golds)))


def _mean(numbers: Sequence[float]) -> float:
    return statistics.fmean(numbers)


def _name(arm: str) -> str:
    return arm.replace(" ", "_")
