"""Random runs held against the laws: up to three programs at once on an engine, some with budgets, some with faults."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import dspy

import reasonflow as rf
from reasonflow.compiler.passes import lower
from reasonflow.language.program import trace
from reasonflow.plan.bounds import bound, limited
from reasonflow.plan.nodes import Plan
from reasonflow.runtime.ledger import Ledger
from reasonflow.runtime.record import Run
from tests.laws.observing import Outcome, Seen, counters, left_behind, outcome, parts_with_budgets, sums, watching
from tests.laws.random_engines import NO_FAULTS, Faults, random_engine
from tests.laws.random_programs import RandomProgram, random_budget, random_program

SOME_FAULTS = Faults(permanent=0.05, transient=0.05)


@dataclass(slots=True)
class Case:
    """One random case after it has run."""

    seed: int
    faults: Faults
    programs: list[RandomProgram]
    plans: list[Plan] = field(default_factory=list)
    """Lowered: the very plans that ran."""
    window: int = 0
    around: Ledger | None = None
    """Of the `rf.limit` around all runs."""
    seen: Seen = field(default_factory=Seen)
    outcomes: list[Outcome] = field(default_factory=list)
    left: dict[str, int] = field(default_factory=dict)
    counted: tuple[int, int, int] = (0, 0, 0)
    """By the engine: input, cached and output tokens."""

    @property
    def runs(self) -> list[Run]:
        return [found.run for found in self.outcomes if found.run is not None]


def run_case(seed: int) -> Case:
    """Draw a case and run it to its end."""
    draw = random.Random(f"case {seed}")
    case = Case(seed, SOME_FAULTS if draw.random() < 0.3 else NO_FAULTS, [])
    for number in range(draw.choice((1, 1, 1, 2, 3))):
        case.programs.append(random_program(digest := draw.getrandbits(40) + number))
        if draw.random() < 0.5:
            case.programs[-1].budget = random_budget(random.Random(digest))
    lm, _ = random_engine(seed, case.faults)
    limits = random_budget(draw) if draw.random() < 0.4 else None
    try:
        with dspy.context(lm=lm), watching() as seen, ExitStack() as stack:
            case.around = stack.enter_context(rf.limit(limits)) if limits is not None else None
            case.outcomes = lm.engine.runtime.run(lambda: _all(case.programs))
            case.plans = [lower(trace(program).plan) for program in case.programs]
        case.seen, case.left = seen, left_behind(lm)
        counts = counters(lm)
        case.counted = (counts.prompt_tokens, counts.cached_tokens, counts.output_tokens)
        case.window = lm.engine.runtime.backend.window
    finally:
        lm.engine.close()
    return case


async def _all(programs: Sequence[RandomProgram]) -> list[Outcome]:
    ends = (outcome(program, problem=f"How many {number}?") for number, program in enumerate(programs))
    return list(await asyncio.gather(*ends))


def broken(case: Case) -> Iterator[tuple[str, str]]:
    """(law, what broke it) for everything in the case that no run may do."""
    yield from (("endings", found.strange) for found in case.outcomes if found.strange)
    yield from (("budgets", text) for text in _overspent(case))
    yield from (("bounds", text) for text in _exceeded(case))
    if case.left.keys() & {"running", "waiting", "admitted", "queued"}:
        yield "requests", f"left behind: {case.left}"
    if "tasks" in case.left:
        yield "tasks", f"left behind: {case.left}"
    yield from (("sums", text) for text in _miscounted(case))


def _overspent(case: Case) -> Iterator[str]:
    yield from case.seen.overspent
    for ledger in case.seen.ledgers:
        if ledger.held.total or ledger.held.calls:
            yield f"{ledger.held} still held of {ledger.budget}"
    expected: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    budgets: dict[int, rf.Budget] = {}

    def add(budget: rf.Budget, run: Run, below: str) -> None:
        spans = [span for span in run.spans if span.node.startswith(below)]
        budgets[id(budget)] = budget
        expected[id(budget)][0] += sum(span.input_tokens + span.output_tokens for span in spans)
        expected[id(budget)][1] += len(spans)

    for program, plan, found in zip(case.programs, case.plans, case.outcomes, strict=True):
        if found.run is None:
            continue
        if case.around is not None:
            add(case.around.budget, found.run, "")
        if program.budget is not None:
            add(program.budget, found.run, "")
        for name, budget in parts_with_budgets(plan):
            add(budget, found.run, f"{name}/")
    for key, (total, calls) in expected.items():
        ledgers = case.seen.of(budgets[key])
        spent = (sum(ledger.spent.total for ledger in ledgers), sum(ledger.spent.calls for ledger in ledgers))
        if spent != (total, calls):
            yield f"{budgets[key]}: spent {spent}, the record says {(total, calls)}"


def _exceeded(case: Case) -> Iterator[str]:
    for program, plan, run in zip(case.programs, case.plans, case.runs, strict=False):
        most = bound(plan, case.window)
        if program.budget is not None:
            most = limited(most, program.budget)
        taken = {
            "calls": run.usage.calls,
            "sequential_tokens": run.sequential_tokens,
            "token_latency": run.token_latency,
            "total_tokens": run.usage.total_tokens,
            "output_tokens": run.usage.output_tokens,
        }
        if len(case.programs) == 1:
            taken["alive"] = case.seen.alive
        for name, amount in taken.items():
            if amount > getattr(most, name):
                yield f"{amount} {name}, at most {getattr(most, name)} were promised"


def _miscounted(case: Case) -> Iterator[str]:
    if case.faults is NO_FAULTS:  # what an engine lost in a failure is in no record
        recorded = sums([span for run in case.runs for span in run.spans])
        if recorded != case.counted:
            yield f"the records hold {recorded}, the engine counted {case.counted}"
    for run in case.runs:
        said = json.loads(json.dumps(run.to_json()))
        usage, spans = said["usage"], said["spans"]
        inputs, outputs = (sum(span[f"{kind}_tokens"] for span in spans) for kind in ("input", "output"))
        path = [spans[number] for number in said["critical_path"]]
        agree = {
            "calls": usage["calls"] == len(spans),
            "tokens": (usage["input_tokens"], usage["output_tokens"]) == (inputs, outputs),
            "total": usage["total_tokens"] == inputs + outputs,
            "computed": usage["computed_tokens"] + usage["cached_tokens"] == inputs,
            "sequential": said["sequential_tokens"] == sum(s["input_tokens"] + s["output_tokens"] for s in path),
            "latency": said["token_latency"] == sum(s["output_tokens"] for s in path),
            "cancelled": usage["cancelled_calls"] == sum(s["outcome"] == "cancelled" for s in spans),
            "order": all(a["started_s"] <= b["started_s"] for a, b in itertools.pairwise(path)),
            "explain": run.explain() is not None,
        }
        yield from (f"the record contradicts itself: {name}" for name, holds in agree.items() if not holds)
