"""Which request enters the engine next.

Measured (H100, 64 slots): branches of one problem that arrive together share even a cold prefix, while interleaving
more problems than the KV cache holds turns 94 % hits into none; a stage barrier that leaves slots idle costs more than
a prefix computed again. So a request's samples enter together; a request enters where its prefix and what its samples
are going to write fit into the KV cache beside those that run; and the engine is kept full: what does not fit lets a
few pass that do, and as soon as one slot is free the next request enters whole. What is more than the slots waits in
the engine's own queue, and where the engine keeps that queue in our order, more requests do while the cache has room.

Across runs the one with the least left to write goes first, within a run the longest remaining path. A run gains rank
while others are served: its standing is the work left, plus a part of the work the engine had done when it came. New
runs come at ever higher standings, so every run is first some day.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import time
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import anyio

from reasonflow.backends.protocol import Backend, Completion, Request, Tokens
from reasonflow.runtime.admission import Footprints
from reasonflow.runtime.lengths import OutputLengths
from reasonflow.runtime.token_trie import Chain, TokenTrie
from reasonflow.runtime.workload import Workload

Policy: TypeAlias = Literal["shortest", "fcfs"]

AGEING = 0.05
"""What a token the engine writes is worth to a run that waits, in tokens of its own work.

Simulated (64 slots, load 0.9, programs of 1 to 96 calls, two seeds): mean latency is 0.49 and 0.57 of first come first
served, as without ageing, and that of the large programs 0.97. At 0.25 small programs stand behind large ones again."""
LOOK_AHEAD = 16
"""Runs looked at behind one whose request does not fit."""
PATIENCE = 64
"""Requests of runs that had not begun which may pass such a request. Then only begun runs go on, until it fits."""
HOLD_S = 0.05
"""How long the prefix of a run that is between two stages is kept while slots are idle: some steps of an engine, and
more than the runtime needs from one stage to the next. Behind that, an idle slot is dearer than a prefix."""
AHEAD = 0.25
"""Of the slots: so many samples more than there are slots may wait in the engine's queue, where the cache has room.
Measured with a cache for a quarter of the prefixes, 64 slots, 16 branches: 155 steps, as with as many as there are
slots, at the same hits and in 3 % less time; strict depth first takes 148, none ahead 165."""
_PATHS = 1 << 6
"""Longest path told apart in an engine's priority."""
_RANKS = 1 << 44
"""Ranks of one priority of the user's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """Where a request stands in the queue."""

    run: int
    """Number of the program run it belongs to: of equal ones the earlier goes first."""
    path: int = 0
    """Remaining critical path behind it, in calls: longer goes first."""
    site: str = ""
    """Whose samples tell how much its own will write."""
    work: Workload | None = None
    """Of its run; None: this request is all there is."""


@dataclass(slots=True, eq=False, kw_only=True)
class Admission:
    """A request inside the engine."""

    ticket: Ticket
    samples: int
    """Those that have not ended."""
    tokens: Tokens | None = None
    """Its prompt; None where the engine takes no tokens."""
    cap: int | None = None
    """Output tokens each sample may write by its own settings."""
    footprints: Footprints | None = None
    """Where its blocks are counted; None for an engine without a prefix cache."""
    chain: Chain | None = None
    """Its prompt as blocks."""
    sample_blocks: int = 0
    """Set aside for the output of each sample."""
    reserved: int = 0
    """Blocks set aside now."""
    planned: tuple[int | None, int | None] = (None, None)
    """Prompt tokens its first sample, and each further one, will find in the prefix cache."""
    run: _Run | None = None
    """That it belongs to."""
    rank: int | None = None
    """Its place in the order of all requests: lower first. None for an engine that has no order of its own."""
    waited_s: float = 0.0
    computed: bool = False
    """Whether the engine came to compute its prompt."""
    live: bool = True


@dataclass(slots=True, eq=False)
class _Waiting:
    admission: Admission
    number: int
    """In the order of arrival."""
    entered: anyio.Event = field(default_factory=anyio.Event)
    passed: int = 0
    """Requests of runs that had not begun which went before it because they fitted."""

    def __lt__(self, other: _Waiting) -> bool:
        mine, theirs = self.admission.ticket.path, other.admission.ticket.path
        return (-mine, self.number) < (-theirs, other.number)


@dataclass(slots=True, eq=False)
class _Run:
    """A run that has requests here, or may have more."""

    number: int
    work: Workload | None
    came: float
    """Tokens the engine had written by then."""
    waiting: list[_Waiting] = field(default_factory=list)
    """A heap; in order of arrival under "fcfs"."""
    live: int = 0
    """Requests inside the engine."""
    held: tuple[Footprints, Chain] | None = None
    """The prefix kept between two stages."""
    held_until: float = 0.0
    standing: float = 0.0

    @property
    def begun(self) -> bool:
        """Whether it has a live prefix."""
        return self.live > 0 or self.held is not None


class Scheduler:
    """Bounds the samples and the live prefixes inside the engine, and orders those that wait.

    One loop's object: not thread-safe.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.policy: Policy = "shortest"
        """"fcfs": requests in order of arrival, none passes another."""
        self.running = 0
        """Samples admitted that have not ended."""
        self.footprints: Footprints | None = None
        self._backend: Backend | None = None
        self._lengths = OutputLengths()
        self._served = 0.0
        """Tokens written so far, by all samples; at least one each."""
        self._runs: dict[Hashable, _Run] = {}
        self._sorted = False
        """Whether the engine keeps its own queue in the order of our ranks."""
        self._crowd: list[Admission] = []
        """Requests some of whose samples found no slot."""
        self._waiting = 0
        self._arrivals = itertools.count()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """Requests that wait for a slot or for room."""
        return self._waiting

    def serve(self, backend: Backend) -> None:
        """Count the footprints of this engine from now on: of another one after a restart, with an empty cache."""
        size, tokens = backend.block_size, backend.kv_tokens
        mine = self.footprints
        if backend is not self._backend or (mine.trie.block_size if mine is not None else None) != size:
            self._backend, self._sorted = backend, backend.capabilities.priority
            self.footprints = mine = None if size is None else Footprints(TokenTrie(size))
            for run in self._runs.values():
                self._let_go(run)
                for waiting in run.waiting:
                    self._count(waiting.admission)
        if mine is not None and size is not None and tokens is not None:
            mine.trie.capacity = tokens // size

    async def admit(self, ticket: Ticket, samples: int, request: Request | None = None) -> Admission:
        """Return once the request may enter. Every admission ends with one `release`, however the request ends."""
        admission = Admission(ticket=ticket, samples=samples)
        if request is not None:
            admission.tokens, admission.cap = request.prompt.tokens, request.sampling.max_tokens
            self._count(admission)
        run = admission.run = self._run_of(ticket)
        if not self._waiting and self.running < self.limit and self._fits(admission, run):
            self._enter(admission, run)
            return admission
        arrived, waiting = time.perf_counter(), _Waiting(admission, next(self._arrivals))
        self._queue(waiting, run)
        self._fill()
        try:
            await waiting.entered.wait()
        except BaseException:
            if waiting.entered.is_set():  # admitted in the very moment of its cancellation
                self.release(admission)
            else:
                self._unqueue(waiting, run)
                self._settle(run, ticket)
                self._fill()
            raise
        admission.waited_s = time.perf_counter() - arrived
        return admission

    def ended(self, admission: Admission, completion: Completion) -> None:
        """A sample of a request has ended: its slot is free, and what it wrote may be read by a later prompt.

        The last one releases the request.
        """
        if not admission.live or not admission.samples:
            return
        admission.computed |= completion.prompt_tokens > 0
        if completion.finish_reason != "cancelled":
            self._lengths.ended(admission.ticket.site, completion.output_tokens)
        if admission.footprints is not None and admission.chain is not None and completion.tokens:
            admission.footprints.trie.add(admission.chain, completion.tokens)
        self._vacate(admission, 1, completion.output_tokens)
        if not admission.samples:
            self.release(admission)
        elif self._waiting:
            self._fill()

    def release(self, admission: Admission) -> None:
        """Give back what a request still has. Idempotent."""
        if not admission.live:
            return
        run = admission.run
        assert run is not None, "only what has entered is released"
        admission.live = False
        self._vacate(admission, admission.samples, 0)
        run.live -= 1
        self._keep(run, admission)
        if admission.footprints is not None:
            admission.footprints.leave(admission.chain, admission.reserved, computed=admission.computed)
        self._settle(run, admission.ticket)
        if self._waiting:
            self._fill()

    def finish(self, work: Workload) -> None:
        """A run has ended: its prefix is no longer kept, and nothing more will come of it."""
        work.over = True
        run = self._runs.get(work)
        if run is not None:
            self._let_go(run)
            if not run.live and not run.waiting:
                del self._runs[work]
        if self._waiting:
            self._fill()

    # Runs -----------------------------------------------------------------------------------------------------------

    def _run_of(self, ticket: Ticket) -> _Run:
        key = ticket.run if ticket.work is None else ticket.work
        run = self._runs.get(key)
        if run is None:
            run = self._runs[key] = _Run(ticket.run, ticket.work, self._served)
        return run

    def _settle(self, run: _Run, ticket: Ticket) -> None:
        """Forget a run of which nothing is left."""
        if not run.live and not run.waiting and (run.work is None or run.work.over):
            self._let_go(run)
            self._runs.pop(ticket.run if run.work is None else run.work, None)

    def _stand(self, run: _Run, admission: Admission) -> float:
        """Where a run stands that wants to be admitted: lower goes first."""
        if run.work is None:
            left = admission.samples * self._lengths.expected(admission.ticket.site, admission.cap)
        else:
            left = run.work.tokens(self._lengths)
        return left + AGEING * run.came

    def _keep(self, run: _Run, admission: Admission) -> None:
        """Between two stages of a run its last prefix stays, since the next one is likely to begin with it."""
        work, footprints, chain = run.work, admission.footprints, admission.chain
        if work is None or work.over or run.live or not admission.computed:
            return
        if chain is None or footprints is None or footprints is not self.footprints or not footprints.keeps(chain):
            return
        self._let_go(run)
        footprints.trie.hold(chain)
        run.held, run.held_until = (footprints, chain), time.perf_counter() + HOLD_S

    def _let_go(self, run: _Run) -> None:
        if run.held is not None:
            footprints, chain = run.held
            footprints.trie.drop(chain)
            run.held = None

    # The queue ------------------------------------------------------------------------------------------------------

    def _queue(self, waiting: _Waiting, run: _Run) -> None:
        self._waiting += 1
        if self.policy == "fcfs":
            run.waiting.append(waiting)
        else:
            heapq.heappush(run.waiting, waiting)
        run.standing = self._stand(run, waiting.admission)

    def _unqueue(self, waiting: _Waiting, run: _Run) -> None:
        self._waiting -= 1
        if self.policy == "fcfs":
            run.waiting.remove(waiting)
        elif waiting is run.waiting[0]:
            heapq.heappop(run.waiting)
        else:
            run.waiting.remove(waiting)
            heapq.heapify(run.waiting)

    def _fill(self) -> None:
        """Let requests enter while there are slots and room."""
        while self._waiting:
            found = self._next() if self.running < self.limit else self._ahead()
            if found is None:
                return
            waiting, run = found
            self._unqueue(waiting, run)
            self._enter(waiting.admission, run)
            waiting.entered.set()

    def _next(self) -> tuple[_Waiting, _Run] | None:
        """The request that enters now; None where none may."""
        ordered = list(self._ordered())
        while True:
            first = ordered[0].waiting[0]
            for run in ordered:
                waiting = run.waiting[0]
                passes = waiting is not first and not run.begun
                if passes and first.passed >= PATIENCE:
                    continue
                if self._fits(waiting.admission, run):
                    first.passed += passes
                    return waiting, run
            if not self._make_room(ordered[0]):
                break
        if self.running or any(run.held is not None for run in self._runs.values() if run is not ordered[0]):
            return None
        return first, ordered[0]  # it fits beside nothing, so it enters alone

    def _ahead(self) -> tuple[_Waiting, _Run] | None:
        """The request that enters though every slot is taken, to wait in the engine's own queue.

        Some wait there while the cache has room: a slot that is free is taken in the engine's next step, which a
        request that waits here cannot do. And one may go there that ranks before what waits there: a wide request which
        found one free slot would else keep all that come after it out until most of its samples have ended.
        """
        if not self._sorted:
            return None
        run = next(self._ordered())
        admission = run.waiting[0].admission
        self._crowd = [each for each in self._crowd if each.live]
        most = math.ceil((1 + AHEAD) * self.limit)
        if self.running < most:
            enters = self._fits(admission, run)
        elif self.policy == "fcfs":
            return None
        else:
            rank = self._rank(run, admission)
            behind = sum(each.samples for each in self._crowd if (each.rank or 0) > rank)
            # No more go before it than that: the rest is better off here, where ranks are reckoned anew.
            before = sum(each.samples for each in self._crowd) - behind
            enters = behind > 0 and before < most and self._fits(admission, run)
        return (run.waiting[0], run) if enters else None

    def _ordered(self) -> Iterator[_Run]:
        """The runs whose requests may enter, in their order."""
        runs = [run for run in self._runs.values() if run.waiting]
        if self.policy == "fcfs":
            yield min(runs, key=lambda run: run.waiting[0].number)
        elif len(runs) == 1:
            yield runs[0]
        else:
            yield from heapq.nsmallest(LOOK_AHEAD, runs, key=lambda run: (run.standing, run.number))

    def _make_room(self, first: _Run) -> bool:
        """Nobody can enter: let go of a prefix that is kept beyond its time, or come back when that time is over.

        first: the run that is to enter. Prefixes of runs that do not wait go before those of runs that do.
        """
        kept = [run for run in self._runs.values() if run.held is not None and run is not first]
        if not kept:
            return False
        now = time.perf_counter()
        over = [run for run in kept if run.held_until <= now]
        if over:
            self._let_go(min(over, key=lambda run: (bool(run.waiting), run.held_until)))
            return True
        if self._timer is None:
            left_s = min(run.held_until for run in kept) - now
            self._timer = asyncio.get_running_loop().call_later(left_s, self._in_time)
        return False

    def _in_time(self) -> None:
        self._timer = None
        self._fill()

    # Entering and leaving -------------------------------------------------------------------------------------------

    def _count(self, admission: Admission) -> None:
        """Reckon its footprint on the engine of now."""
        footprints, tokens = self.footprints, admission.tokens
        admission.footprints, admission.chain, admission.sample_blocks = footprints, None, 0
        if footprints is None:
            return
        if tokens is not None:
            admission.chain = footprints.trie.chain(tokens)
        expected = self._lengths.expected(admission.ticket.site, admission.cap)
        admission.sample_blocks = footprints.output_blocks(expected, admission.chain)

    def _outputs(self, admission: Admission) -> int:
        """Blocks its samples are going to write while they run: no more run at once than there are slots."""
        return admission.sample_blocks * min(admission.samples, self.limit)

    def _fits(self, admission: Admission, run: _Run) -> bool:
        """Whether it has room in the KV cache."""
        footprints = admission.footprints
        if footprints is None:
            return True
        held = run.held[1] if run.held is not None and run.held[0] is footprints else None
        return footprints.fits(admission.chain, self._outputs(admission), held)

    def _rank(self, run: _Run, admission: Admission) -> int:
        if self.policy == "fcfs":
            return next(self._arrivals)
        return int(self._stand(run, admission)) * _PATHS - min(admission.ticket.path, _PATHS - 1)

    def _enter(self, admission: Admission, run: _Run) -> None:
        footprints, chain = admission.footprints, admission.chain
        self.running += admission.samples
        run.live += 1
        if self._sorted:
            admission.rank = self._rank(run, admission)
            if self.running > self.limit:
                self._crowd.append(admission)
            else:
                self._crowd.clear()
        if footprints is not None:
            if chain is not None:
                rest = chain.reusable * footprints.trie.block_size
                admission.planned = (footprints.trie.known(chain), rest)
            admission.reserved = self._outputs(admission)
            footprints.enter(chain, admission.reserved)
        self._let_go(run)

    def _vacate(self, admission: Admission, samples: int, tokens: int) -> None:
        """Slots of samples that are gone, and the blocks set aside for them."""
        admission.samples -= samples
        self.running -= samples
        self._served += max(samples, tokens)
        if admission.footprints is not None and admission.reserved:
            reserved = self._outputs(admission)
            admission.footprints.outputs -= admission.reserved - reserved
            admission.reserved = reserved
        work, run = admission.ticket.work, admission.run
        if work is not None and samples:
            work.ended(admission.ticket.site, samples)
            if run is not None and run.waiting:
                run.standing = self._stand(run, run.waiting[0].admission)


def priority(own: int, rank: int) -> int:
    """What an engine is told of a request: the user's own priority first, then our rank. Lower goes first."""
    return own * _RANKS + max(1 - _RANKS // 2, min(rank, _RANKS // 2 - 1))
