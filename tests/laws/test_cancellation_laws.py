"""Laws of leaving: whenever a run is cancelled, nothing of it stays, and the engine serves the next one."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter

import anyio
import dspy
import pytest

import reasonflow as rf
from tests.laws.observing import Seen, counters, left_behind, outcome, sums, watching
from tests.laws.random_engines import random_engine
from tests.laws.random_programs import RandomProgram, random_budget, random_program

EXAMPLES = 100
MANY = 1_000
MOST_TURNS = 400


def cancelled(seed: int, ends: Counter[str]) -> list[str]:
    """What a cancelled run left behind, in words. ends: counts how the runs ended."""
    draw = random.Random(f"cancelled {seed}")
    program = random_program(draw.getrandbits(40))
    if draw.random() < 0.4:
        program.budget = random_budget(draw, seconds=False)
    lm, _ = random_engine(draw.getrandbits(40))
    turns = int(MOST_TURNS ** draw.random()) - 1
    how = draw.choice((_by_scope, _by_task, _by_deadline))
    found: list[str] = []
    try:
        with dspy.context(lm=lm), watching() as seen, rf.limit(total=1_000_000):
            ends[lm.engine.runtime.run(lambda: how(program, turns))] += 1
            found += [f"left behind: {left}" for left in [left_behind(lm)] if left]
            found += _unsettled(seen, lm)
            again = lm.engine.runtime.run(lambda: outcome(random_program(seed), problem="And now?"))
            found += [f"the next run: {again.strange}"] if again.strange else []
            found += [f"left behind by the next run: {left}" for left in [left_behind(lm)] if left]
    finally:
        lm.engine.close()
    return [f"case {seed}, {turns} turns, {how.__name__}: {text}" for text in found]


def _unsettled(seen: Seen, lm: dspy.LM) -> list[str]:
    found = list(seen.overspent)
    found += [f"held: {ledger.held}" for ledger in seen.ledgers if ledger.held.total or ledger.held.calls]
    spans = [span for run in seen.runs for span in run.spans]
    counts = counters(lm)
    counted = (counts.prompt_tokens, counts.cached_tokens, counts.output_tokens)
    if sums(spans) != counted:
        found.append(f"the record holds {sums(spans)}, the engine counted {counted}")
    spent = sum(ledger.spent.total for ledger in seen.ledgers if ledger.parent is None)
    if spent != counted[0] + counted[2]:
        found.append(f"{spent} spent, {counted} counted")
    return found


async def _by_scope(program: RandomProgram, turns: int) -> str:
    """A scope around the caller is cancelled after so many turns of the loop."""
    async with anyio.create_task_group() as group:

        async def after() -> None:
            for _ in range(turns):
                await asyncio.sleep(0)
            group.cancel_scope.cancel()

        group.start_soon(after)
        await outcome(program, problem="How many?")
        group.cancel_scope.cancel()
        return "ended"
    return "cancelled"


async def _by_task(program: RandomProgram, turns: int) -> str:
    """The caller's task is cancelled once, as asyncio does it."""
    task = asyncio.ensure_future(outcome(program, problem="How many?"))
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    return "cancelled" if task.cancelled() else "ended"


async def _by_deadline(program: RandomProgram, turns: int) -> str:
    """The caller waits no longer than so many tenths of milliseconds."""
    with anyio.move_on_after(turns / 10_000) as scope:
        await outcome(program, problem="How many?")
    return "cancelled" if scope.cancelled_caught else "ended"


def left_by(many: int, ends: Counter[str]) -> list[str]:
    """What so many cancelled runs left behind; those that ended before they were cancelled do not count."""
    found: list[str] = []
    for seed in itertools.count():
        if ends["cancelled"] >= many:
            return found
        found += cancelled(seed, ends)
    raise AssertionError("seeds do not end")


def test_laws_a_cancelled_run_leaves_nothing_behind() -> None:
    ends: Counter[str] = Counter()
    assert left_by(EXAMPLES, ends) == []


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_laws_a_thousand_cancellations_leave_nothing_behind(capsys: pytest.CaptureFixture[str]) -> None:
    ends: Counter[str] = Counter()
    found = left_by(MANY, ends)
    with capsys.disabled():
        print(f"\n{MANY:,} random cancellations ({dict(ends)}): {len(found)} left something behind")
    assert found == []


def test_laws_callers_on_other_loops_can_leave_at_any_moment() -> None:
    """The same, with the caller on a loop of its own in another thread."""
    found: list[str] = []
    for seed in range(30):
        draw = random.Random(f"elsewhere {seed}")
        program, (lm, _) = random_program(draw.getrandbits(40)), random_engine(draw.getrandbits(40))

        async def leave(program: RandomProgram = program, seconds: float = draw.uniform(0, 0.03)) -> None:
            with anyio.move_on_after(seconds):
                await outcome(program, problem="How many?")

        try:
            with dspy.context(lm=lm), watching() as seen, rf.limit(total=1_000_000):
                asyncio.run(leave())
                found += [f"{seed}: left behind: {left}" for left in [left_behind(lm)] if left]
                found += [f"{seed}: {text}" for text in _unsettled(seen, lm)]
        finally:
            lm.engine.close()
    assert found == []
