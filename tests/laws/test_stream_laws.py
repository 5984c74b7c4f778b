"""Laws of joins that do not wait for their list: no answer changes, paths are as they were run, nothing is left."""

from __future__ import annotations

import random
from typing import Any

import dspy
import pytest

import reasonflow as rf
from reasonflow.compiler.passes import PASSES, stages
from reasonflow.compiler.stream_joins import stream_joins
from reasonflow.plan.nodes import Plan
from tests.laws.observing import Outcome, left_behind, outcome, watching
from tests.laws.random_engines import random_engine
from tests.laws.random_programs import brittle, echo_later, holds_later, several
from tests.laws.test_path_laws import all_went_well, timed

EXAMPLES = 120


class Shared(rf.Program):
    """Lists that several joins and others read, each join with steps of its own behind it. Equal seeds, equal plans."""

    def __init__(self, seed: int, *, hasty: bool = True) -> None:
        """hasty: also lists that only quorums read, whose winner then depends on who comes first."""
        draw = random.Random(f"sites {seed}")
        self.seed, self.hasty = seed, hasty
        options: dict[str, Any] = {"style": "fields", "retries": draw.choice((0, 1, 2))} if draw.random() < 0.5 else {}
        self.solve = rf.Generate("problem -> answer", temperature=0.7, **options)
        self.refine = rf.Generate("problem, earlier -> answer", temperature=0.7, retries=draw.choice((0, 1)))

    def plan(self, problem: Any) -> Any:
        draw = random.Random(f"plan {self.seed}")
        given: dict[str, Any] = {}
        for number in range(draw.choice((1, 1, 2))):
            items, by = self.items(draw, problem)
            read = draw.random() < 0.7
            kinds = ("vote", "quorum", "need", "item") if read or self.hasty else ("vote", "item")
            joins = [self.joined(draw, items, by, kinds) for _ in range(draw.randint(1, 3))]
            found = [self.behind(draw, problem, value) for value in joins]
            if read:
                found.append(rf.call(echo_later, items.answer if by else items))
            if draw.random() < 0.2:
                found.append(rf.call(brittle, found[0]))
            given[f"from{number}"] = found
        return given

    def items(self, draw: random.Random, problem: Any) -> tuple[Any, str | None]:
        """A list, and the field by which its items vote."""
        width = draw.randint(1, 6)
        least = draw.randint(1, width) if draw.random() < 0.25 else None
        kind = draw.choice(("group", "group", "fork", "chain", "each"))
        if kind == "group":
            return self.solve(problem=problem, n=width, min_branches=least), "answer"
        if kind == "fork":
            body = lambda index: self.solve(problem=index).answer  # noqa: E731
            return rf.fork(width, body, min_branches=least), None
        if kind == "chain":
            twice = lambda: self.refine(problem=problem, earlier=self.solve(problem=problem).text)  # noqa: E731
            return rf.fork(width, twice, min_branches=least), "answer"
        listed = rf.call(several, problem)
        return rf.each(listed, lambda item: self.solve(problem=item).answer, cap=width), None

    def joined(self, draw: random.Random, items: Any, by: str | None, kinds: tuple[str, ...]) -> Any:
        if by is not None and draw.random() < 0.4:
            return self.chosen(draw, items.answer, None, kinds)
        value = self.chosen(draw, items, by, kinds)
        return value if by is None else value.text if draw.random() < 0.5 else value.answer

    def chosen(self, draw: random.Random, items: Any, by: str | None, kinds: tuple[str, ...]) -> Any:
        kind = draw.choice(kinds)
        if kind == "vote":
            return rf.vote(items, by=by)
        if kind == "item":
            return items[draw.choice((0, 0, -1))]
        try:
            return rf.quorum(items, by=by, need=draw.randint(1, 3) if kind == "need" else None)
        except rf.ReasonFlowError:  # the list is narrower than the quorum
            return rf.quorum(items, by=by)

    def behind(self, draw: random.Random, problem: Any, value: Any) -> Any:
        kind = draw.choice(("call", "call", "when", "late", "marked"))
        if kind == "call":
            return self.refine(problem=problem, earlier=value).answer
        if kind == "when":
            return rf.when(
                rf.call(holds_later, value), lambda: self.refine(problem=problem, earlier=value).answer, lambda: value
            )
        if kind == "late":  # wanted once the condition is known
            first = self.solve(problem=problem).text
            return rf.when(
                rf.call(holds_later, first), lambda: self.refine(problem=problem, earlier=value).answer, lambda: problem
            )
        return rf.answer(rf.call(echo_later, value))


def ended(
    seed: int, timing: int, *, streaming: bool, budget: rf.Budget | None = None
) -> tuple[Outcome, dict[str, int]]:
    """How one run ends, and what it leaves behind."""

    def lower(plan: Plan) -> Plan:
        return stages(plan, [rewrite for rewrite in PASSES if streaming or rewrite is not stream_joins])[-1][1]

    lm, _ = random_engine(seed, timing=timing)
    program = Shared(seed, hasty=budget is not None)
    program.budget = budget
    try:
        with pytest.MonkeyPatch.context() as patch, dspy.context(lm=lm):
            patch.setattr("reasonflow.runtime.launch.lower", lower)
            found = lm.engine.runtime.run(lambda: outcome(program, problem="How many?"))
        return found, left_behind(lm)
    finally:
        lm.engine.close()


def test_laws_streaming_changes_no_answer_in_whatever_order_samples_end() -> None:
    problems: list[str] = []
    early = complete = 0
    for seed in range(EXAMPLES):
        waited, _ = ended(seed, seed, streaming=False)
        for timing in (seed, seed + 1):
            found, left = ended(seed, timing, streaming=True)
            if str(found.value) != str(waited.value) or (found.error is None) != (waited.error is None):
                problems.append(
                    f"{seed}: gave {found.value!r} {found.error!r}, waiting {waited.value!r} {waited.error!r}"
                )
            problems += [f"{seed}: left behind {left}"] * bool(left) + [f"{seed}: {found.strange}"] * bool(
                found.strange
            )
            notes = found.run.notes if found.run is not None else []
            early += any("decided after" in note for note in notes)
            complete += found.error is None
    assert problems == []
    assert early > EXAMPLES // 10
    assert complete > EXAMPLES


def test_laws_paths_through_streamed_joins_are_as_they_were_run() -> None:
    problems: list[str] = []
    early = 0
    for seed in range(EXAMPLES):
        found, seconds = timed(seed, Shared(seed), None)
        if found.run is None or not all_went_well(found):
            continue
        early += any("decided after" in note for note in found.run.notes)
        if seconds != found.run.sequential_tokens:
            problems.append(f"{seed}: {found.run.sequential_tokens} sequential tokens, {seconds:.0f} s")
        limit = max(60, int(seconds) * 2 // 3)
        cut, seconds = timed(seed, Shared(seed), limit)
        if seconds > limit and cut.run is not None:
            problems.append(f"{seed}: {seconds:.0f} s under a budget of {limit} sequential tokens")
    assert problems == []
    assert early > 5


def test_laws_no_budget_is_overspent_where_joins_stream() -> None:
    problems: list[str] = []
    for seed in range(EXAMPLES):
        draw = random.Random(seed)
        limits = {
            "total": draw.randint(100, 3_000),
            "sequential": draw.randint(60, 1_000),
            "calls": draw.randint(1, 20),
        }
        name = draw.choice(sorted(limits))
        with watching() as seen:
            found, left = ended(seed, seed, streaming=True, budget=rf.Budget(**{name: limits[name]}))
        held = [f"{ledger.held} still held" for ledger in seen.ledgers if ledger.held.total or ledger.held.calls]
        problems += [
            f"{seed}: {text}" for text in [*seen.overspent, *held, *([found.strange] if found.strange else [])]
        ]
        problems += [f"{seed}: left behind {left}"] * bool(left)
    assert problems == []
