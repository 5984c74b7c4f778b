"""Laws of the scheduler, over whatever programs ask of it: it is driven without an engine."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reasonflow.backends.protocol import Capabilities, Completion, Observer, Prompt, Request, Sampling
from reasonflow.backends.scripted import ScriptedBackend
from reasonflow.runtime import scheduler as module
from reasonflow.runtime.lengths import FIRST_GUESS, OutputLengths
from reasonflow.runtime.runtime import Runtime
from reasonflow.runtime.scheduler import PATIENCE, Admission, Policy, Scheduler, Ticket, priority
from reasonflow.runtime.workload import Workload

BLOCK = 4
MOST_SAMPLES = 6
LIMIT_S = 20.0


@pytest.fixture(autouse=True)
def _short_holds() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "HOLD_S", 0.002)
        yield


class Work(Workload):
    """So many samples of one site, of at most a block each."""

    def __init__(self, site: str, samples: int) -> None:
        self._left, self._caps, self.over = {site: samples}, {site: BLOCK}, False


@dataclass(frozen=True, slots=True)
class Ask:
    """One request of a stage."""

    prefix: int
    """Whose prompt it begins with: requests of equal prefixes share it."""
    blocks: int
    own: int
    """Further blocks of its own."""
    samples: int
    tokens: int
    """Each sample writes."""
    turns: int
    """Turns of the loop it takes."""
    ends: str
    """done, failed (no sample is told), cancelled (after `turns`, wherever it is)."""


asks = st.builds(
    Ask,
    prefix=st.integers(0, 3),
    blocks=st.integers(0, 6),
    own=st.integers(0, 2),
    samples=st.integers(1, MOST_SAMPLES),
    tokens=st.integers(1, 12),
    turns=st.integers(0, 6),
    ends=st.sampled_from(["done", "done", "done", "failed", "cancelled"]),
)
programs = st.lists(st.lists(st.lists(asks, min_size=1, max_size=5), min_size=1, max_size=3), min_size=1, max_size=6)
"""Stages of requests that run beside each other."""


class Watched(Scheduler):
    """Counts what is inside the engine without the trie, and checks it at every entry and end."""

    def __init__(self, limit: int, capacity: int) -> None:
        super().__init__(limit)
        self.capacity = capacity
        self.inside: set[Admission] = set()
        self.entered: list[int] = []
        """Runs of the requests, in the order of their entry."""

    def _enter(self, admission: Admission, run: Any) -> None:
        super()._enter(admission, run)
        self.inside.add(admission)
        self.entered.append(admission.ticket.run)
        self.check()

    def release(self, admission: Admission) -> None:
        self.inside.discard(admission)
        super().release(admission)
        self.check()

    def check(self) -> None:
        prefixes: set[tuple[int, ...]] = set()
        outputs = 0
        for admission in self.inside:
            tokens = admission.tokens or ()
            prefixes |= {tokens[: end + BLOCK] for end in range(0, len(tokens) - BLOCK + 1, BLOCK)}
            outputs += admission.sample_blocks * min(admission.samples, self.limit)
        assert len(prefixes) + outputs <= self.capacity or len(self.inside) == 1
        assert self.footprints is not None
        assert self.footprints.live <= self.capacity or len(self.inside) == 1
        most = (4 if self._sorted else 1) * (self.limit + MOST_SAMPLES)
        assert self.running == sum(admission.samples for admission in self.inside) < most


def tokens_of(ask: Ask, unique: int) -> tuple[int, ...]:
    return (ask.prefix,) * (BLOCK * ask.blocks) + (10 + unique,) * (BLOCK * ask.own) + (9,)


def end(ask: Ask) -> Completion:
    written = tuple(range(100, 100 + ask.tokens))
    return Completion(text="", tokens=written, output_tokens=ask.tokens, prompt_tokens=1)


async def drive(
    plans: list[list[list[Ask]]], capacity: int, limit: int, policy: Policy = "shortest", *, sorts: bool = False
) -> Watched:
    """Run these programs beside each other, to their ends. sorts: the engine keeps its queue in our order."""
    scheduler = Watched(limit, capacity)
    scheduler.policy = policy
    scheduler.serve(backend(capacity, limit, sorts=sorts))
    numbers = iter(range(1 << 20))

    async def one(ask: Ask, ticket: Ticket) -> None:
        request = Request(prompt=Prompt(tokens=tokens_of(ask, next(numbers))), sampling=Sampling(max_tokens=12))
        admission = await scheduler.admit(ticket, ask.samples, request)
        try:
            for _ in range(ask.turns):
                await asyncio.sleep(0)
            for _ in range(ask.samples if ask.ends == "done" else 0):
                scheduler.ended(admission, end(ask))
                scheduler.check()
        finally:
            scheduler.release(admission)
            scheduler.release(admission)  # idempotent

    async def cut_short(ask: Ask, ticket: Ticket) -> None:
        task = asyncio.create_task(one(ask, ticket))
        for _ in range(ask.turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    async def program(number: int, stages: list[list[Ask]]) -> None:
        site = f"site {number % 2}"
        work = Work(site, sum(ask.samples for stage in stages for ask in stage))
        for left, stage in zip(range(len(stages), 0, -1), stages, strict=True):
            ticket = Ticket(run=number, path=left, site=site, work=work if number % 3 else None)
            async with asyncio.TaskGroup() as group:
                for ask in stage:
                    group.create_task((cut_short if ask.ends == "cancelled" else one)(ask, ticket))
            await asyncio.sleep(0)
        scheduler.finish(work)

    async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as group:
        for number, stages in enumerate(plans):
            group.create_task(program(number, stages))
    return scheduler


@settings(max_examples=150, deadline=None)
@given(programs, st.integers(4, 40), st.integers(1, 12), st.sampled_from(["shortest", "fcfs"]), st.booleans())
def test_every_request_ends_and_no_more_is_live_than_fits(
    plans: list[list[list[Ask]]], capacity: int, limit: int, policy: Policy, sorts: bool
) -> None:
    """Cancelled and failed ones anywhere among them; only a single request may be larger than the cache."""
    scheduler = asyncio.run(drive(plans, capacity, limit, policy, sorts=sorts))
    assert not scheduler.inside
    assert (scheduler.running, scheduler.waiting, scheduler._runs) == (0, 0, {})
    assert scheduler.footprints is not None
    assert (scheduler.footprints.live, scheduler.footprints.outputs, scheduler.footprints.trie._holders) == (0, 0, {})


@settings(max_examples=50, deadline=None)
@given(st.lists(asks, min_size=2, max_size=20), st.integers(4, 40), st.integers(1, 12))
def test_first_come_first_served_lets_nobody_pass(crowd: list[Ask], capacity: int, limit: int) -> None:
    calm = [[[Ask(a.prefix, a.blocks, a.own, a.samples, a.tokens, a.turns, "done")]] for a in crowd]
    entered = asyncio.run(drive(calm, capacity, limit, "fcfs")).entered
    assert entered == sorted(entered)
    assert len(entered) == len(crowd)


class Sorting(ScriptedBackend):
    """An engine that keeps its own queue in the order of priorities."""

    @property
    def capabilities(self) -> Capabilities:
        return replace(super().capabilities, priority=True)


def backend(capacity: int, limit: int, *, sorts: bool = False) -> ScriptedBackend:
    return (Sorting if sorts else ScriptedBackend)("x", block_size=BLOCK, kv_blocks=capacity, max_running=limit)


@pytest.mark.parametrize("sorts", [False, True])
def test_a_short_program_follows_a_wide_one_into_the_engines_queue_where_that_is_in_our_order(sorts: bool) -> None:
    async def main() -> tuple[bool, bool]:
        scheduler = Scheduler(4)
        scheduler.serve(backend(100, 4, sorts=sorts))
        admit = scheduler.admit
        await admit(Ticket(run=0, work=Work("s", 3)), 3, request(1, 1))
        await admit(Ticket(run=1, work=Work("s", 8)), 8, request(2, 1))  # finds one free slot
        long = asyncio.create_task(admit(Ticket(run=2, work=Work("s", 90)), 1, request(3, 1)))
        short = asyncio.create_task(admit(Ticket(run=3, work=Work("s", 1)), 1, request(4, 1)))
        await asyncio.sleep(0.01)
        entered = short.done(), long.done()
        for task in (short, long):
            task.cancel()
        await asyncio.gather(short, long, return_exceptions=True)
        return entered

    assert asyncio.run(main()) == (sorts, False)


def request(token: int, blocks: int, cap: int = BLOCK) -> Request:
    return Request(prompt=Prompt(tokens=(token,) * (BLOCK * blocks)), sampling=Sampling(max_tokens=cap))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3), st.integers(1, 8), st.integers(2, 40), st.booleans())
def test_nobody_starves_among_ever_new_small_programs(tokens: int, limit: int, left: int, large: bool) -> None:
    """left: samples the waiting program has before it. large: its prefix fits only when nothing else is live."""
    capacity = 4 * limit + 8

    async def main() -> int:
        scheduler = Scheduler(limit)
        scheduler.serve(backend(capacity, limit))
        small: list[Admission] = []
        queue: list[asyncio.Task[Admission]] = []
        numbers = iter(range(1, 1 << 20))

        def come() -> None:
            ticket = Ticket(run=(number := next(numbers)), site="small", work=Work("small", 1))
            queue.append(asyncio.create_task(scheduler.admit(ticket, 1, request(number, 1))))

        for _ in range(limit + 2):
            come()
        await asyncio.sleep(0)
        old = Ticket(run=0, site="old", work=Work("old", left))
        waits = asyncio.create_task(scheduler.admit(old, 1, request(0, capacity - 2 if large else 1)))
        served = 0
        while not waits.done():
            await asyncio.sleep(0)
            small += [task.result() for task in queue if task.done()]
            queue = [task for task in queue if not task.done()]
            if small:
                admission = small.pop(0)
                done = Completion(text="", output_tokens=tokens, prompt_tokens=BLOCK)
                scheduler.ended(admission, done)
                scheduler.release(admission)
                work = admission.ticket.work
                assert work is not None
                scheduler.finish(work)
                served += 1
                come()
        scheduler.release(waits.result())
        for task in queue:
            task.cancel()
        await asyncio.gather(*queue, return_exceptions=True)
        return served

    served = asyncio.run(asyncio.wait_for(main(), LIMIT_S))
    waited = left * BLOCK / module.AGEING / tokens
    assert served <= waited + PATIENCE + 3 * limit + 10


def test_the_program_with_the_least_left_goes_first_and_its_longest_path() -> None:
    async def main() -> list[str]:
        scheduler, order = Scheduler(1), []
        first = await scheduler.admit(Ticket(run=0), 1)

        async def ask(name: str, ticket: Ticket) -> None:
            admission = await scheduler.admit(ticket, 1)
            order.append(name)
            scheduler.release(admission)

        short, long = Work("s", 2), Work("s", 200)
        async with asyncio.TaskGroup() as group:
            for name, run, path, work in (
                ("long", 1, 9, long), ("short end", 2, 1, short), ("short start", 2, 3, short), ("bridge", 3, 0, None),
            ):  # fmt: skip
                group.create_task(ask(name, Ticket(run=run, path=path, site="s", work=work)))
            await asyncio.sleep(0)
            scheduler.release(first)
        return order

    assert asyncio.run(main()) == ["short start", "short end", "bridge", "long"]


def test_a_slot_is_free_when_a_sample_ends_not_when_its_request_does() -> None:
    async def main() -> None:
        scheduler = Scheduler(2)
        pair = await scheduler.admit(Ticket(run=0), 2)
        next_one = asyncio.create_task(scheduler.admit(Ticket(run=1), 1))
        await asyncio.sleep(0)
        assert scheduler.waiting == 1
        scheduler.ended(pair, Completion(text="", output_tokens=3, prompt_tokens=1))
        entered = await next_one
        assert scheduler.running == 2
        scheduler.release(pair)
        scheduler.release(entered)
        assert scheduler.running == 0

    asyncio.run(main())


def test_a_begun_program_keeps_its_prefix_between_two_stages_for_a_while() -> None:
    """A new one that would take its room waits: until the next stage has ended, or the time is over."""

    async def main(comes_back: bool) -> list[str]:
        scheduler, order = Scheduler(8), []
        scheduler.serve(backend(12, 8))
        work = Work("s", 2)

        async def ask(name: str, run: int, token: int, work: Workload | None) -> None:
            admission = await scheduler.admit(Ticket(run=run, site="s", work=work), 1, request(token, 8))
            order.append(name)
            await asyncio.sleep(0)
            scheduler.ended(admission, Completion(text="", output_tokens=4, prompt_tokens=32))
            scheduler.release(admission)

        await ask("begun", 0, 0, work)
        new = asyncio.create_task(ask("new", 1, 1, Work("s", 1)))
        await asyncio.sleep(0)
        if comes_back:
            await ask("begun again", 0, 0, work)
            scheduler.finish(work)
        await new
        return order

    assert asyncio.run(main(True)) == ["begun", "begun again", "new"]
    assert asyncio.run(main(False)) == ["begun", "new"]


def test_what_does_not_fit_lets_pass_what_does() -> None:
    async def main() -> list[str]:
        scheduler, order = Scheduler(8), []
        scheduler.serve(backend(12, 8))
        running = await scheduler.admit(Ticket(run=0, site="s"), 1, request(0, 6))

        async def ask(name: str, run: int, blocks: int) -> None:
            admission = await scheduler.admit(Ticket(run=run, site="s"), 1, request(run, blocks))
            order.append(name)
            scheduler.release(admission)

        async with asyncio.TaskGroup() as group:
            group.create_task(ask("large", 1, 11))
            group.create_task(ask("small", 2, 2))
            for _ in range(3):
                await asyncio.sleep(0)
            assert order == ["small"]
            scheduler.release(running)
        return order

    assert asyncio.run(main()) == ["small", "large"]


def test_an_engine_without_a_prefix_cache_is_bounded_by_its_slots_alone() -> None:
    async def main() -> None:
        scheduler = Scheduler(3)
        one = await scheduler.admit(Ticket(run=0), 2, request(0, 1000))
        two = await scheduler.admit(Ticket(run=1), 2, request(1, 1000))
        assert (scheduler.running, scheduler.footprints, one.planned) == (4, None, (None, None))
        scheduler.release(one)
        scheduler.release(two)

    asyncio.run(main())


def test_the_users_own_priority_comes_before_ours() -> None:
    ranks = [-(1 << 60), -5, 0, 7, 1 << 60]
    assert [priority(0, rank) for rank in ranks] == sorted(priority(0, rank) for rank in ranks)
    assert max(priority(-1, rank) for rank in ranks) < min(priority(0, rank) for rank in ranks)
    assert all(abs(priority(100, rank)) < 1 << 63 for rank in ranks)


class Ranked(ScriptedBackend):
    """An engine that takes priorities, and remembers them."""

    def __init__(self) -> None:
        super().__init__("a text of several tokens")
        self.seen: list[int] = []

    @property
    def capabilities(self) -> Capabilities:
        return replace(super().capabilities, priority=True)

    async def generate(self, request: Request, observe: Observer | None = None) -> tuple[Completion, ...]:
        self.seen.append(request.priority)
        return await super().generate(request, observe)


def test_an_engine_that_takes_priorities_is_told_our_order() -> None:
    engine = Ranked()
    runtime = Runtime(engine)

    async def ask(ticket: Ticket, own: int = 0) -> None:
        await runtime.generate(replace(request(1, 3), priority=own), ticket=ticket)

    async def main() -> None:
        short, long = Work("s", 2), Work("s", 50)
        await ask(Ticket(run=0, path=1, site="s", work=long))
        await ask(Ticket(run=1, path=1, site="s", work=short))
        await ask(Ticket(run=1, path=2, site="s", work=short))
        await ask(Ticket(run=0, path=1, site="s", work=long), own=-1)
        await ask(Ticket(run=1, path=1, site="s", work=short), own=1)

    runtime.run(main)
    runtime.close()
    long, short, longer_path, urgent, last = engine.seen
    assert urgent < longer_path < short < long < last


def test_lengths_are_learned_and_follow_a_site_that_changes() -> None:
    lengths = OutputLengths()
    assert (lengths.expected("s"), lengths.expected("s", 100)) == (FIRST_GUESS, 100)
    lengths.ended("s", 10)
    lengths.ended("s", 30)
    assert (lengths.expected("s"), lengths.expected("s", 12)) == (20, 12)
    for _ in range(2000):
        lengths.ended("s", 500)
    assert math.isclose(lengths.expected("s"), 500, rel_tol=0.01)
