"""The model calls that a function of a run makes by itself: a DSPy module's, or those of a program it calls.

They are recorded as the run's, paid for from its budget, and lie on its path. What depends on what inside the function
cannot be seen from here, so a call counts as coming after every one that had ended when it began.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import anyio

from reasonflow.backends.protocol import Completion, Observer, Piece, Prompt, Request, Sampling, TokenLogprobs, Tokens
from reasonflow.errors import BranchCancelled, RunError
from reasonflow.runtime.draw import journal_key
from reasonflow.runtime.events import BranchStarted, Token
from reasonflow.runtime.fitting import prompt_tokens
from reasonflow.runtime.journal import Journal
from reasonflow.runtime.ledger import Amount, Hold
from reasonflow.runtime.price import Price
from reasonflow.runtime.record import ASIDE, SCORE, Run, label
from reasonflow.runtime.reservation import exceeded
from reasonflow.runtime.scheduler import Ticket
from reasonflow.runtime.seeds import sample_seed
from reasonflow.runtime.sending import counted, output_limit, send
from reasonflow.runtime.values import Cost, longest

if TYPE_CHECKING:
    from reasonflow.runtime.runtime import Runtime
    from reasonflow.runtime.where import Indices, Where

FLOOR_TOKENS = 64
"""A budget caps such a call no lower, unless it asks for less itself."""
SHARE = 0.25
"""Of what a budget has left: a call that nothing waits for takes at most so much, and leaves the rest to the others."""


@dataclass(slots=True, kw_only=True)
class Inside:
    """One function while it runs. `ask` on the home's loop only."""

    run: Run
    home: Runtime
    """The engine on whose loop the run lives."""
    node: str
    cap: int
    """Model calls it may make: what it was declared with."""
    where: Where
    ticket: Ticket
    journal: Journal | None
    price: Callable[[Runtime], Price]
    reached: Cost = field(init=False)
    """The longest way to the calls that have ended."""
    closed: bool = False
    """The function has ended, or is not waited for any more: nothing further is asked."""
    begun: int = 0
    """Of its model calls; those of a program it calls count with all that program may make."""
    beside: int = 0
    """Model calls begun that nothing waits for."""

    _asking: set[anyio.CancelScope] = field(default_factory=set)
    _programs: dict[Run, tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = field(default_factory=dict)
    """Under way, and where they can be cancelled."""
    _gone: anyio.Event | None = None

    def __post_init__(self) -> None:
        self.reached = self.where.entry

    async def close(self) -> None:
        """Take what is asked now out of the engine, and return when it is gone; nothing more is asked. Idempotent.

        Something is left where a thread of the function is not waited for any more.
        """
        self.closed = True
        for calling in self._asking:
            calling.cancel()
        for loop, task in self._programs.values():
            loop.call_soon_threadsafe(task.cancel)
        if self._asking or self._programs:
            self._gone = anyio.Event()
            with anyio.CancelScope(shield=True):
                await self._gone.wait()

    async def ask(
        self, runtime: Runtime, request: Request, observe: Observer | None = None, *, aside: Indices | None = None
    ) -> Completion:
        """The completion of a request of one sample. Without a seed it gets one that follows its place in the run.

        observe: told on the home's loop. aside: where it stands among the function's asides; nothing waits for such a
        call, so it lies on no path, and takes no place from the function's other calls. Raises RunError where the
        function has made all the calls it declared, BudgetExceeded where the budget has no room, and what the engine
        raises.
        """
        self.where.scope.check()
        before, indices = self.reached, self.begin(1) if aside is None else self._begin_aside(aside)
        if request.sampling.seed is None:
            seed = sample_seed(self.run.seed, self.node, indices)
            request = replace(request, sampling=replace(request.sampling, seed=seed))
        request = replace(request, label=label(self.node, indices), stream=request.stream or self.run.streamed)
        key = journal_key(self.run.program, request.label, 0, 0, request.prompt, request.sampling)
        recorded = self.journal.find(key) if self.journal is not None else None
        started_s, limit = self.run.clock(), _limit(runtime, request)
        if recorded is not None:
            self._pay(runtime, before, indices, recorded)
            self._add(before, indices, started_s, recorded, limit, replayed=True, inner=ASIDE if aside else "")
            return recorded
        cap, hold = await self._reserved(runtime, request, before, limit, aside=aside is not None)
        if hold is not None:
            request = replace(request, sampling=replace(request.sampling, max_tokens=cap))
        self.run.requests += 1
        if self.run.watched:
            size = len(request.prompt.tokens) if request.prompt.tokens is not None else None
            self.run.tell(BranchStarted, self.node, indices, input_tokens=size)
        ended: list[Completion] = []

        def told(seen: Piece | tuple[int, Completion]) -> None:
            if isinstance(seen, Piece):
                self.run.tell(Token, self.node, indices, text=seen.text)
            else:
                ended.append(seen[1])
                self.run.cache.see(runtime.scheduler.footprints)
            if observe is not None:
                observe(seen)

        try:
            with self._while_wanted():
                await send(self.home, runtime, request, told, self.ticket)
        finally:
            if hold is not None:
                hold.settle(self._spent(runtime, request, ended, cap))
            for completion in ended:
                self._add(before, indices, started_s, completion, cap, inner=ASIDE if aside else "")
        if not ended or ended[-1].finish_reason == "cancelled":
            self.where.scope.check()
            raise BranchCancelled(f"{request.label} was taken out of the engine")
        if self.journal is not None:
            self.journal.keep(key, ended[-1])
        self.run.squeezed |= cap != limit and ended[-1].finish_reason == "length"
        return ended[-1]

    async def score(self, runtime: Runtime, prompt: Tokens, continuation: Tokens) -> tuple[float, ...]:
        """Log-probabilities of given tokens, as one of the function's calls: it reads them all, and writes nothing.

        Raises as `ask`, and what the engine raises.
        """
        self.where.scope.check()
        before, indices = self.reached, self.begin(1)
        tokens, started_s = (*prompt, *continuation), self.run.clock()
        sampling = Sampling(max_tokens=len(continuation))  # of one text two parts may be scored
        key = journal_key(self.run.program, label(self.node, indices), 0, 0, Prompt(tokens=tokens), sampling)
        completion = self.journal.find(key) if self.journal is not None else None
        replayed = completion is not None
        if completion is None:
            hold = self._held(runtime, len(tokens), indices)
            spent = Amount()
            try:
                with self._while_wanted():
                    numbers = await runtime.arun(partial(runtime.backend.score, prompt, continuation))
                    spent = self._amount(runtime, len(tokens), 0)
            finally:
                if hold is not None:
                    hold.settle(spent)
            self.run.requests += 1
            completion = Completion(
                text="",
                output_tokens=0,
                prompt_tokens=len(tokens),
                cached_tokens=0,
                total_s=self.run.clock() - started_s,
                logprobs=tuple(TokenLogprobs("", number) for number in numbers),
            )
            if self.journal is not None:
                self.journal.keep(key, completion)
        else:
            self._pay(runtime, before, indices, completion)
        self._add(before, indices, started_s, completion, 0, replayed=replayed, inner=SCORE)
        return tuple(token.logprob for token in completion.logprobs)

    def begin(self, calls: int) -> tuple[int, ...]:
        """The place of what makes so many calls more. Raises RunError where they are more than was declared."""
        self._check_open()
        place = (*self.where.indices, self.begun)
        self.begun += calls
        self._check_cap()
        return place

    def _begin_aside(self, place: Indices) -> Indices:
        self._check_open()
        self.beside += 1
        self._check_cap()
        return (*self.where.indices, *place)

    def _check_cap(self) -> None:
        begun = self.begun + self.beside
        if begun > self.cap:
            name = label(self.node, self.where.indices)
            raise RunError(
                f"{name} makes more model calls than it may: {begun}, not {self.cap}",
                why="bounds and budgets of the whole program rest on what rf.call was told",
                fix=f"declare them: rf.call(..., cap={begun})",
            )

    async def program(self, run: Run, calls: int) -> tuple[tuple[int, ...], Cost]:
        """A program that makes at most so many calls begins here: its place, and what came before it. From any loop."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None, "programs run in tasks"

        async def begin() -> tuple[tuple[int, ...], Cost]:
            place = self.begin(calls)
            self._programs[run] = (loop, task)
            return place, self.reached

        return await self.home.arun(begin)

    async def ended(self, run: Run, place: tuple[int, ...], before: Cost) -> None:
        """It has ended: its calls are the function's. From any loop."""

        async def adopt() -> None:
            self._programs.pop(run, None)
            self._adopt(run, place, before)
            self._left()

        with anyio.CancelScope(shield=True):
            await self.home.arun(adopt)

    def _adopt(self, run: Run, place: tuple[int, ...], before: Cost) -> None:
        first, way, path = len(self.run.spans), before, set(run.path)
        for number, span in enumerate(run.spans):
            inner = f"{span.node}/{span.inner}" if span.inner else span.node
            self.run.spans.append(replace(span, node=self.node, indices=(*place, *span.indices), inner=inner))
            if number in path:
                way = way.after(first + number, span.input_tokens, span.output_tokens)
        self.run.requests += run.requests
        self.run.squeezed |= run.squeezed
        for mine, its in (
            (self.run.repairs, run.repairs),
            (self.run.failures, run.failures),
            (self.run.notes, run.notes),
        ):
            mine += [f"{label(self.node, place)}: {text}" for text in its]
        self._reach(way)

    async def _reserved(
        self, runtime: Runtime, request: Request, before: Cost, limit: int | None, *, aside: bool = False
    ) -> tuple[int | None, Hold | None]:
        """Output tokens the call may write, and what is held for it; (its own limit, None) without a budget.

        One that nothing waits for does not wait either, and takes no more than its share of what is left.
        """
        scope, ledger = self.where.scope, self.where.scope.ledger
        if ledger is None:
            return limit, None
        price, tokens = self.price(runtime), prompt_tokens(request.prompt)
        with self._while_wanted():
            while scope.stopped is None and not self.closed:
                rooms = [scope.way_room(before), ledger.room("total")]
                dollars = ledger.room("dollars") - price.of(tokens, 0)
                if price.output_token and dollars != float("inf"):
                    rooms.append(tokens + dollars / price.output_token)
                room = min(rooms) - tokens
                cap = int(min(room, limit if limit is not None else room)) if room != float("inf") else limit
                if cap is None:
                    cap = runtime.backend.window or FLOOR_TOKENS
                if cap >= min(FLOOR_TOKENS, limit or FLOOR_TOKENS):
                    amount = Amount(total=tokens + cap, calls=1, dollars=price.of(tokens, cap))
                    hold = ledger.reserve(amount) if not aside or ledger.spares(amount, SHARE) else None
                    if hold is not None:
                        return cap, hold
                if aside or not ledger.waits_for_settlements():
                    break
                await ledger.settlement()
        scope.check()
        self._check_open()
        raise exceeded(request.label, scope)

    @contextmanager
    def _while_wanted(self) -> Iterator[None]:
        """What is awaited here ends when the scope is stopped, or the function closed."""
        with self.where.scope.call() as calling:
            self._asking.add(calling)
            try:
                yield
            finally:
                self._asking.discard(calling)
                self._left()

    def _left(self) -> None:
        if self._gone is not None and not self._asking and not self._programs:
            self._gone.set()

    def _check_open(self) -> None:
        if self.closed:
            raise BranchCancelled(f"{self.node} is not waited for any more")

    def _pay(self, runtime: Runtime, before: Cost, indices: tuple[int, ...], completion: Completion) -> None:
        """A recorded call takes of the budget what it took when it was made."""
        ledger = self.where.scope.ledger
        amount = self._amount(runtime, completion.prompt_tokens, completion.output_tokens)
        if ledger is not None and not ledger.recall(amount):
            raise exceeded(label(self.node, indices), self.where.scope)

    def _held(self, runtime: Runtime, read: int, indices: tuple[int, ...]) -> Hold | None:
        """What is held for a call of known size; None without a budget. Raises BudgetExceeded."""
        ledger = self.where.scope.ledger
        if ledger is None:
            return None
        hold = ledger.reserve(self._amount(runtime, read, 0))
        if hold is None:
            raise exceeded(label(self.node, indices), self.where.scope)
        return hold

    def _spent(self, runtime: Runtime, request: Request, ended: list[Completion], cap: int | None) -> Amount:
        if not ended:
            return Amount()
        completion = counted(ended[-1], runtime.backend, request.prompt, cap)
        return self._amount(runtime, completion.prompt_tokens, completion.output_tokens)

    def _amount(self, runtime: Runtime, input_tokens: int, output_tokens: int) -> Amount:
        dollars = self.price(runtime).of(input_tokens, output_tokens)
        return Amount(total=input_tokens + output_tokens, calls=1, dollars=dollars)

    def __deepcopy__(self, memo: dict[int, Any]) -> Inside:
        return self  # travels in DSPy's settings, which are copied

    def _add(
        self,
        before: Cost,
        indices: tuple[int, ...],
        started_s: float,
        completion: Completion,
        cap: int | None,
        *,
        replayed: bool = False,
        inner: str = "",
    ) -> None:
        outcome: Literal["done", "cancelled"] = "cancelled" if completion.finish_reason == "cancelled" else "done"
        number = self.run.add(self.node, indices, started_s, completion, outcome, max_tokens=cap, replayed=replayed)
        if inner:
            self.run.spans[number] = replace(self.run.spans[number], inner=inner)
        if inner != ASIDE and outcome == "done":
            self._reach(before.after(number, completion.prompt_tokens, completion.output_tokens))

    def _reach(self, cost: Cost) -> None:
        self.reached = longest([self.reached, cost])
        self.where.furthest.reach(self.reached)


def _limit(runtime: Runtime, request: Request) -> int | None:
    """Output tokens the call can write at most, whatever the budget."""
    own = request.sampling.max_tokens
    backend = runtime.backend
    return output_limit(backend, request.prompt, backend.default_max_tokens if own is None else own)
