"""Runs a program over problems: samples beside each other, each recorded as it ends, resumable."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dspy

from reasonflow.backends.dspy_lm_engines import runtime_behind
from reasonflow.errors import InputError
from reasonflow.evals.dataset import Problem
from reasonflow.evals.grading import Grader
from reasonflow.evals.judging import Judge, by_answer
from reasonflow.evals.manifest import describe
from reasonflow.evals.record import recorded
from reasonflow.evals.samples import Key, Sample
from reasonflow.evals.session import Audience, Session
from reasonflow.evals.spending import check_overall, spent
from reasonflow.language.program import Program
from reasonflow.plan.budget import Budget
from reasonflow.runtime.engines import price_behind
from reasonflow.runtime.price import FREE_OF_CHARGE
from reasonflow.runtime.spending import Room, Spending

CALLS_WITHOUT_ENGINE = 16
"""Calls in flight on a language model that does not say how much it can run at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """All samples of an evaluation, as far as its budget went."""

    samples: tuple[Sample, ...]
    """In the order of the problems, then of their samples."""
    resumed: int
    """How many an earlier call had left there."""
    planned: int
    """How many were asked for."""
    stopped: str = ""
    """Why there are not as many as planned, and how many are missing; empty where none is."""

    @property
    def wall_s(self) -> float:
        """Seconds of all sessions together, from the first call to the last verdict: the engine had started before."""
        return wall_s(self.samples)


async def evaluate(
    program: dspy.Module,
    problems: Sequence[Problem],
    *,
    lm: dspy.LM | None = None,
    samples: int = 1,
    seed: int = 0,
    out: str | Path | None = None,
    concurrency: int | None = None,
    budget: Budget | None = None,
    overall_budget: Budget | None = None,
    judge: Judge | None = None,
    grader: Grader | None = None,
    audience: Audience | None = None,
    benchmark: str = "",
    settings: Mapping[str, Any] | None = None,
    only: Collection[str] | None = None,
) -> Evaluation:
    """Call `program` `samples` times on every problem, judge what it gives, and give all samples.

    out: a folder that gets one line per sample as it ends, and one per finished model call until then. Called again
        with equal arguments it goes on where it stopped, however it was stopped: what is recorded stays as it is, and
        no finished model call is made again. Raises InputError for a folder of another evaluation, and while another
        process writes to it.
    concurrency: program calls in flight; None: as many as the engine runs requests.
    budget: of each run, in place of the program's own. A run it cuts counts as it ended: with its latest answer, or
        wrong without one.
    overall_budget: of all runs together, those of earlier sessions included. When it leaves no room for another run,
        the evaluation ends with what it has; the same call with a larger one goes on.
    only: ids of the problems to run now, as a pilot does: the rest is neither run nor planned, and the same call
        without it goes on from there.
    judge: says what a prediction is worth; None: its answer is compared with the problem's, by `grader` if given.
    A call that raises is a wrong sample with the error in it. Errors that would repeat (a dead engine, a program or an
    input that is wrong) are raised at once, as BudgetExceeded is where `budget` is less than any answer takes; so is
    cancellation. Everything recorded until then is kept.
    """
    lm, told = lm or dspy.settings.lm, audience or Audience()
    _check(program, problems, lm, samples, concurrency)
    program = limited(program, budget, overall_budget)
    own = getattr(program, "budget", None) or Budget()
    # First of all: it asks the engine for its fingerprint, and so finds an unknown model before a folder is made.
    manifest = describe(
        program, problems, lm=lm, samples=samples, seed=seed, benchmark=benchmark, settings=settings, budget=own
    )
    worst = _worst(program, lm) if own.limits or overall_budget is not None else {}
    price = price_behind(lm) if overall_budget is not None and overall_budget.dollars is not None else FREE_OF_CHARGE
    with ExitStack() as stack:
        record = None if out is None else stack.enter_context(recorded(Path(out), manifest))
        kept = record.kept if record else ()
        if told.on_kept is not None:
            for sample in kept:
                told.on_kept(sample)
        now = problems if only is None else [problem for problem in problems if problem.id in only]
        jobs = _jobs(now, samples, {sample.key for sample in kept})
        if jobs:
            await _start(lm)
        spending = None
        if overall_budget is not None:
            earlier = [spent(sample, price) for sample in kept]
            room = Room(overall_budget, worst, earlier=earlier, earlier_s=wall_s(kept), price=price)
            spending = Spending(room)
        session = Session(
            program,
            lm,
            judge or by_answer(grader or stack.enter_context(Grader())),
            seed=seed,
            budget=own,
            spending=spending,
            record=record,
            audience=told,
        )
        await session.run(iter(jobs), concurrency or in_flight(lm))
        done = {sample.key: sample for sample in (*kept, *session.ended)}
        wanted = [(problem.id, index) for problem in now for index in range(samples)]
        missing = sum(key not in done for key in wanted)
        if record is not None:
            record.complete = not missing and only is None
    return Evaluation(
        samples=tuple(done[key] for key in wanted if key in done),
        resumed=len(kept),
        planned=len(wanted),
        stopped=f"stopped by the budget: {len(wanted) - missing} of {len(wanted)} samples, {missing} missing; "
        f"for all runs it is {overall_budget}"
        if missing
        else "",
    )


def limited(program: dspy.Module, budget: Budget | None, overall: Budget | None = None) -> dspy.Module:
    """The program with a budget for each run; its parts are the same objects. Raises InputError where it can have none.

    overall: only checked.
    """
    if budget is None and overall is None:
        return program
    if not isinstance(program, Program):
        raise InputError(
            f"{type(program).__name__} cannot be held to a budget",
            why="budgets are kept by the runtime of ReasonFlow programs; a plain DSPy module calls its model past it",
            fix="leave the budgets out, or make it a reasonflow.Program whose plan calls the module through rf.call",
        )
    if overall is not None:
        check_overall(overall)
    if budget is None:
        return program
    copied = copy.copy(program)
    copied.callbacks, copied.budget = program.callbacks, budget  # DSPy leaves the callbacks out of copies
    return copied


def wall_s(samples: Sequence[Sample]) -> float:
    """Seconds of all sessions that recorded these samples."""
    last: dict[int, float] = {}
    for sample in samples:
        last[sample.session] = max(last.get(sample.session, 0.0), sample.ended_s)
    return sum(last.values())


def in_flight(lm: dspy.LM) -> int:
    """Program calls that keep the engine full: every running call has at least one request in it, or waits for one."""
    runtime = runtime_behind(lm)
    return CALLS_WITHOUT_ENGINE if runtime is None else max(1, runtime.backend.max_running)


async def _start(lm: dspy.LM) -> None:
    """Start the engine now, so that its half minute is in no figure."""
    runtime = runtime_behind(lm)
    if runtime is not None:
        await runtime.arun(runtime.backend.start)


def _worst(program: dspy.Module, lm: dspy.LM) -> dict[str, float]:
    """What one run can spend at most, by name. Raises BudgetExceeded where its budget is less than any answer takes."""
    assert isinstance(program, Program), "only programs have budgets"
    with dspy.context(lm=lm):
        most = program.explain().bound
    dollars = None if program.budget is None else program.budget.dollars
    found: dict[str, float | None] = {"total": most.total_tokens, "calls": most.calls, "dollars": dollars}
    return {name: amount for name, amount in found.items() if amount is not None}


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
