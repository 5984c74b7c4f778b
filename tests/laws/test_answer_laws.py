"""Laws of answers: passes keep them, the order of arrival does not matter, replays and joined calls agree."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import dspy
import pytest

import reasonflow as rf
from reasonflow import events
from reasonflow.backends.protocol import Completion
from reasonflow.compiler.passes import PASSES, Pass, stages
from reasonflow.plan.nodes import Plan
from reasonflow.runtime.ambient import surrounded
from tests.laws.observing import Outcome, counters, left_behind, outcome, sums
from tests.laws.random_engines import Answers, random_engine
from tests.laws.random_programs import STEADY, Features, random_program

EXAMPLES = 100
MANY = 1_500


def ending(found: Outcome) -> Any:
    """What a user gets, but for the wording of errors: with several failures any may be the first."""
    return "an error" if found.error is not None else found.value


def lowered_by(passes: Sequence[Pass], seed: int, timing: int, monkeypatch: pytest.MonkeyPatch) -> Any:
    """How one steady program ends when only these passes lower its plan."""

    def lower(plan: Plan) -> Plan:
        return stages(plan, passes)[-1][1]

    lm, _ = random_engine(seed, timing=timing)
    try:
        with monkeypatch.context() as patch, dspy.context(lm=lm):
            patch.setattr("reasonflow.runtime.launch.lower", lower)
            found = lm.engine.runtime.run(lambda: outcome(random_program(seed, STEADY), problem="How many?"))
    finally:
        lm.engine.close()
    assert not found.strange
    return ending(found)


def differences(seeds: range, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Programs that give something else after a pass alone, or after all, or when samples end in another order."""
    found = []
    for seed in seeds:
        expected = lowered_by((), seed, 0, monkeypatch)
        for number, passes in enumerate([*((rewrite,) for rewrite in PASSES), PASSES, PASSES]):
            given = lowered_by(passes, seed, number, monkeypatch)
            if given != expected:
                found.append(f"{seed}: {[p.__name__ for p in passes]} give {given!r}, the traced plan {expected!r}")
    return found


def test_laws_every_pass_keeps_the_answers_in_whatever_order_samples_end(monkeypatch: pytest.MonkeyPatch) -> None:
    assert differences(range(EXAMPLES // 2), monkeypatch) == []


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_laws_passes_keep_answers_of_many_plans(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = differences(range(MANY), monkeypatch)
    with capsys.disabled():
        print(f"\n{MANY:,} random plans, {len(PASSES)} passes alone and together: {len(found)} changed their answer")
    assert found == []


class Notebook:
    """A journal in memory. `again` lists the keys of what was computed although it was there."""

    def __init__(self) -> None:
        self.kept: dict[str, Completion] = {}
        self.again: list[str] = []

    def find(self, key: str) -> Completion | None:
        return self.kept.get(key)

    def keep(self, key: str, completion: Completion) -> None:
        if key in self.kept:
            self.again.append(key)
        self.kept[key] = completion


def resumed(seed: int) -> list[str]:
    """What is wrong about a run that is cut at a random moment and run again from its journal."""
    draw = random.Random(f"resumed {seed}")
    program, turns, notebook = random_program(seed, STEADY), int(300 ** draw.random()), Notebook()

    async def cut() -> None:
        task = asyncio.ensure_future(outcome(program, problem="How many?"))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    async def in_one_go() -> Outcome:
        return await outcome(program, problem="How many?")

    def on_an_engine(work: Callable[[], Awaitable[Any]], journal: Notebook | None) -> tuple[Any, int, dict[str, int]]:
        """Each on its own: an engine that has learned how long texts become lets more in before a quorum stands."""
        lm, answers = random_engine(seed)
        try:
            with dspy.context(lm=lm), surrounded(journal=journal):
                came = lm.engine.runtime.run(work)
            return came, len(answers.asked), left_behind(lm)
        finally:
            lm.engine.close()

    whole, asked, _ = on_an_engine(in_one_go, None)
    _, _, left_by_cut = on_an_engine(cut, notebook)
    kept = len(notebook.kept)
    found, asked_again, left_after = on_an_engine(in_one_go, notebook)
    left = {**left_by_cut, **left_after}
    problems = [f"asked again for {key}" for key in notebook.again]
    if ending(found) != ending(whole):
        problems.append(f"gave {ending(found)!r}, uninterrupted {ending(whole)!r}")
    if left:
        problems.append(f"left behind: {left}")
    replays = sum(span.replayed for span in found.run.spans) if found.run is not None else 0
    if replays > kept or (found.error is None and asked_again > asked):
        problems.append(f"{replays} replayed of {kept} kept, {asked_again} of {asked} asked")
    return [f"case {seed}, cut after {turns} turns: {text}" for text in problems]


def test_laws_a_resumed_run_asks_for_nothing_twice_and_gives_the_same_answer() -> None:
    assert [text for seed in range(EXAMPLES) for text in resumed(seed)] == []


def told(seed: int) -> list[str]:
    """What is wrong about the events of one run."""
    lm, _ = random_engine(seed)
    program = random_program(seed)
    if seed % 2:
        program.budget = rf.Budget(total=random.Random(seed).randint(100, 3_000))
    seen: list[events.Event] = []

    async def listen() -> None:
        with contextlib.suppress(Exception):  # the run's own error comes after its events
            async for event in program.stream(problem="How many?"):
                seen.append(event)  # noqa: PERF401  # those before the error count, too

    try:
        with dspy.context(lm=lm):
            asyncio.run(listen())
        left, counts = left_behind(lm), counters(lm)
    finally:
        lm.engine.close()
    return [f"case {seed}: {text}" for text in [*_untold(seen, counts.output_tokens), *([f"{left}"] if left else [])]]


def _untold(seen: list[events.Event], output_tokens: int) -> list[str]:
    def places(*kinds: type[events.Event]) -> Counter[Any]:
        return Counter((event.node, event.indices) for event in seen if isinstance(event, kinds))

    ends = [event for event in seen if isinstance(event, (events.BranchEnded, events.Cancelled))]
    texts: dict[Any, str] = defaultdict(str)
    for event in seen:
        if isinstance(event, events.Token):
            texts[event.node, event.indices] += event.text
    once = [place for place, count in places(events.BranchStarted).items() if count == 1]
    spoken = {(e.node, e.indices): e.text for e in ends if isinstance(e, events.BranchEnded)}
    finished = [event for event in seen if isinstance(event, events.Finished)]
    facts = {
        "every branch that starts ends once": places(events.BranchStarted)
        == places(events.BranchEnded, events.Cancelled),
        "tokens add up to the text": all(texts[place] == spoken[place] for place in once if place in spoken),
        "output tokens add up": sum(event.output_tokens for event in ends) == output_tokens,
        "time goes on": [event.at_s for event in seen] == sorted(event.at_s for event in seen),
        "finished comes last": finished == seen[len(seen) - len(finished) :] and len(finished) <= 1,
    }
    if finished:
        run = finished[0].output.run
        facts["events and record agree"] = (
            len(ends) == run.usage.calls
            and sum(isinstance(event, events.Cancelled) for event in ends) == run.usage.cancelled_calls
        )
        facts["a cut run gives the last answer"] = run.complete or finished[0].output.toDict() == _last_answer(seen)
    return [f"not so: {fact}" for fact, holds in facts.items() if not holds]


def _last_answer(seen: list[events.Event]) -> dict[str, Any]:
    """Outside the parts that have budgets, and so answers, of their own."""
    marked = [event for event in seen if isinstance(event, events.Answer) and "within" not in event.node]
    return {"output": marked[-1].value} if marked else {}


def test_laws_events_tell_what_the_record_holds() -> None:
    assert [text for seed in range(EXAMPLES) for text in told(seed)] == []


def test_laws_identical_concurrent_calls_are_one_run() -> None:
    problems: list[str] = []
    joined = 0
    for seed in range(EXAMPLES // 5):
        program = random_program(seed, Features(effects=False, seconds=False))
        lm = rf.scripted(Answers(seed), latency=0.03)

        async def ask(program: Any = program) -> list[Outcome]:
            return list(await asyncio.gather(*(outcome(program, problem="How many?") for _ in range(3))))

        try:
            with dspy.context(lm=lm):
                first, *others = asyncio.run(ask())
            counts = counters(lm)
        finally:
            lm.engine.close()
        runs = {id(found.run): found.run for found in (first, *others) if found.run is not None}
        if any(ending(other) != ending(first) for other in others):
            problems.append(f"{seed}: {[ending(found) for found in (first, *others)]}")
        # A run that waits for no model call may be over before the next caller comes.
        waited = any(run.usage.calls > run.usage.cancelled_calls for run in runs.values())
        if waited and len(runs) != 1:
            problems.append(f"{seed}: {len(runs)} runs instead of one")
        recorded = sums([span for run in runs.values() for span in run.spans])
        if recorded != (counts.prompt_tokens, counts.cached_tokens, counts.output_tokens):
            problems.append(f"{seed}: {recorded} recorded, {counts} counted")
        joined += waited
    assert joined > EXAMPLES // 10
    assert problems == []
