"""One model call: from a site and real inputs to records."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import anyio
import dspy

from reasonflow.backends.protocol import Completion, Prompt, Request, Sampling
from reasonflow.errors import BackendError, BranchCancelled, BudgetExceeded
from reasonflow.language.tracing import Binding
from reasonflow.plan.nodes import Generate, Node, Site
from reasonflow.prompts.render import PromptTemplate
from reasonflow.runtime import joins
from reasonflow.runtime.allotment import Allotment, Allotter, Ask
from reasonflow.runtime.draw import Draw, journal_key
from reasonflow.runtime.fitting import Fitting
from reasonflow.runtime.frames import Frame
from reasonflow.runtime.journal import Journal
from reasonflow.runtime.ledger import Amount, Hold
from reasonflow.runtime.price import Price
from reasonflow.runtime.reading import flowing
from reasonflow.runtime.record import Run, label
from reasonflow.runtime.runtime import Runtime
from reasonflow.runtime.scheduler import Ticket
from reasonflow.runtime.scope import Scope
from reasonflow.runtime.seeds import sample_seed
from reasonflow.runtime.tally import tallies
from reasonflow.runtime.values import Cost, Hole, longest

_RETRY_STRIDE = 7919
"""Moves a retry's seed away from the siblings' seeds, which are consecutive."""
_WORTH_WAITING = 0.5
"""A call waits for settlements where it would get less than this share of what was planned. Forecasts are a little off
all the time: waiting for every token would line the branches up one behind the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """One call as DSPy is told of it after the run."""

    order: tuple[str, tuple[int, ...]]
    """Where it stands in the plan: site and branch."""
    binding: Binding
    site: Site
    inputs: Mapping[str, Any]
    prompt: Prompt
    completions: tuple[Completion, ...]
    records: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a run a call stands."""

    scope: Scope
    frame: Frame | None
    """None where no budget limits it."""
    position: int
    indices: tuple[int, ...]
    """Branch, round and sample numbers on the way to it, outermost first."""


@dataclass(slots=True)
class CallMaker:
    """Makes the model calls of one run."""

    run: Run
    number: int
    """The run's place in the scheduler's order."""
    bindings: Mapping[str, Binding]
    runtimes: Mapping[str, Runtime]
    """The engine of each call site."""
    home: Runtime
    """The engine on whose loop the run lives."""
    made: list[Made]
    journal: Journal | None
    allotter: Allotter
    price: Price

    async def generate(self, node: Node, values: Sequence[Any], before: Cost, place: Place) -> tuple[Any, Cost]:
        """Render, sample, parse. One record, or a list of them with holes where there is none.

        Raises BackendError; AdapterParseError where a single sample cannot be read; BudgetExceeded where the budget
        allows no sample; RunError where a group has fewer records than it must.
        """
        op = node.op
        assert isinstance(op, Generate)
        place.scope.check()
        call = _Call(self, node, op, before, place, values)
        try:
            await call.draw()
            await call.ask_again()
        finally:
            if call.completions:
                self.made.append(call.told())
        return call.outcome()

    def own_cap(self, site: Site) -> int | None:
        """What a sample of this site may write where no budget says less; None: what the window leaves."""
        cap = site.sampling.max_tokens
        return self.runtimes[site.name].backend.default_max_tokens if cap is None else cap


class _Call:
    """One call of one site, from its inputs to its outcome."""

    def __init__(
        self, maker: CallMaker, node: Node, op: Generate, before: Cost, place: Place, values: Sequence[Any]
    ) -> None:
        site = op.site
        self.maker, self.node, self.op, self.before, self.place = maker, node, op, before, place
        self.binding, self.runtime = maker.bindings[site.name], maker.runtimes[site.name]
        self.inputs = {name: flowing(value) for name, value in zip(op.fields, values, strict=True)}
        backend = self.runtime.backend
        self.fitting = Fitting(template(site), self.inputs, backend.tokenizer, backend.window, site.sampling.max_tokens)
        self.drawn = 1 if site.sampling.temperature == 0 else (op.n or 1)
        """Samples there are to draw: greedy ones are all the same."""
        self.prompt = self.fitting.whole
        self.records: list[Any] = [None] * self.drawn
        self.costs: list[Cost] = [before] * self.drawn
        self.completions: list[Completion] = []

    @property
    def name(self) -> str:
        """As people read it."""
        return label(self.node.name, self.place.indices)

    def indices(self, sample: int) -> tuple[int, ...]:
        """Of one sample."""
        return (*self.place.indices, sample) if self.op.n is not None else self.place.indices

    async def draw(self) -> None:
        """Draw the samples that no earlier session has recorded, as many as the budget has room for."""
        found = self._recorded(0, range(self.drawn))
        missing = [sample for sample in range(self.drawn) if sample not in found]
        decided = tallies(self.op.stops, self.drawn)
        if found:
            spent = self._replay(found, 0, decided)
            missing = [] if spent else missing
        if missing:
            await self._sample(missing, 0, decided)

    async def ask_again(self) -> None:
        """Ask again for what could not be read, where the site allows it: all of them beside each other."""
        for attempt in range(1, self.op.site.retries + 1):
            unread = [number for number, record in enumerate(self.records) if _unread(record)]
            if not unread or self.place.scope.stopped is not None:
                return
            async with anyio.create_task_group() as group:
                for sample in unread:
                    group.start_soon(self._again, sample, attempt)

    async def _again(self, sample: int, attempt: int) -> None:
        decided = tallies((), 1)
        try:
            found = self._recorded(attempt, [sample])
            if found:
                self._replay(found, attempt, decided)
            else:
                await self._sample([sample], attempt, decided)
        except (BackendError, BudgetExceeded) as error:
            self.maker.run.repair(self.node.name, f"not asked again: {error}", self.indices(sample))

    def _recorded(self, attempt: int, samples: Sequence[int]) -> dict[int, Completion]:
        journal = self.maker.journal
        if journal is None:
            return {}
        found = {sample: journal.find(self._key(sample, attempt)) for sample in samples}
        return {sample: completion for sample, completion in found.items() if completion is not None}

    def _key(self, sample: int, attempt: int) -> str:
        # Over the prompt before a budget cuts it and the site's own settings: a resumed run may be allotted otherwise.
        return journal_key(
            self.maker.run.program, self.name, sample, attempt, self.fitting.whole, self._sampling(attempt, sample)
        )

    def _sampling(self, attempt: int, sample: int = 0) -> Sampling:
        path = (*self.place.indices, 0) if self.op.n is not None else self.place.indices
        seed = sample_seed(self.binding.seed, self.node.name, path)
        if attempt:
            seed = (seed + sample + _RETRY_STRIDE * attempt) % (1 << 31)
        return replace(self.op.site.sampling, seed=seed)

    def _replay(self, found: Mapping[int, Completion], attempt: int, decided: Callable[[int, Any], bool]) -> bool:
        """Take recorded samples as they are; whether the rest does not matter any more."""
        draw = self._new_draw(list(found), attempt, self.prompt, None, decided, replayed=True)
        tokens = sum(completion.prompt_tokens + completion.output_tokens for completion in found.values())
        dollars = sum(self.maker.price.of(c.prompt_tokens, c.output_tokens) for c in found.values())
        ledger = self.place.scope.ledger
        amount = Amount(total=tokens, calls=len(found), dollars=dollars)
        if ledger is not None:
            hold = ledger.reserve(amount)
            if hold is None:
                raise _exceeded(self.name, self.place.scope)
            hold.settle(amount)
        for sample, completion in found.items():
            draw.take((sample, completion))
        self._collect(draw)
        return draw.decided

    async def _sample(self, samples: list[int], attempt: int, decided: Callable[[int, Any], bool]) -> None:
        """Send them, wait for their ends, settle what they took."""
        allotment, hold, prompt, cut = await self._reserve(len(samples), retrying=attempt > 0)
        if cut:
            self.maker.run.repair(self.node.name, cut, self.place.indices)
        if attempt == 0:
            self.prompt = prompt
        dropped = samples[allotment.width :] if allotment else []
        samples = samples[: len(samples) - len(dropped)]
        if dropped:
            self._drop(dropped)
        first_ones = samples == list(range(len(samples)))
        sampling = self._sampling(attempt, samples[0])
        cap = allotment.cap if allotment else None
        request = Request(
            prompt=prompt,
            sampling=sampling if cap is None else replace(sampling, max_tokens=cap),
            n=1 if attempt else len(samples) if first_ones else self.drawn,
            priority=self.binding.priority,
            label=self.name,
            stream=self.maker.run.streamed,
        )
        places = None if attempt or first_ones else samples
        draw = self._new_draw(samples, attempt, prompt, self._limit(prompt, cap), decided, single=attempt > 0)
        try:
            with self.place.scope.call() as calling:
                draw.enough = calling.cancel
                await self._send(request, places, draw.take)
        finally:
            if hold is not None:
                hold.settle(draw.spent(self.maker.price))
            self._collect(draw)
        if draw.decided:
            self._fill(samples, BranchCancelled("the quorum stood without it"))
        elif self.place.scope.stopped is not None:
            self._fill(samples, self.place.scope.stopped)

    async def _send(self, request: Request, places: Sequence[int] | None, observe: Callable[[Any], None]) -> None:
        ticket = Ticket(run=self.maker.number, path=self.node.priority)
        self.maker.run.requests += 1
        home, runtime = self.maker.home, self.runtime
        if runtime is home:
            await runtime.generate(request, observe, ticket, places)
            return
        loop = asyncio.get_running_loop()

        def observe_there(seen: Any) -> None:  # on the other engine's thread
            loop.call_soon_threadsafe(observe, seen)

        await runtime.arun(lambda: runtime.generate(request, observe_there, ticket, places))

    async def _reserve(self, samples: int, *, retrying: bool) -> tuple[Allotment | None, Hold | None, Prompt, str]:
        """Wait for room in the budget and take it: (allotment, reservation, prompt, what was cut from it)."""
        scope, frame = self.place.scope, self.place.frame
        if frame is None or scope.ledger is None:
            return None, None, *self.fitting.render()
        ask = Ask(
            op=self.op,
            before=longest(self.costs) if retrying else self.before,
            prompt=self.fitting.tokens,
            own_cap=self._limit(self.fitting.whole, None),
            width=samples,
            least=1 if retrying else min(samples, self.op.min_branches or 1),
        )
        with scope.call():
            while scope.stopped is None:
                allotment = self.maker.allotter.call(ask, frame, self.place.position)
                if scope.ledger.waits_for_settlements() and self._worth_waiting(allotment, ask):
                    await scope.ledger.settlement()
                    continue
                if allotment is None:
                    raise _exceeded(self.name, scope)
                prompt, cut = self.fitting.render(self.fitting.tokens(allotment.level.tokens))
                tokens = len(prompt.tokens) if prompt.tokens is not None else self.fitting.whole_tokens
                each = tokens + min(allotment.cap, self._limit(prompt, None) or allotment.cap)
                amount = Amount(
                    total=each * allotment.width,
                    calls=allotment.width,
                    dollars=self.maker.price.of(tokens, allotment.cap) * allotment.width,
                )
                hold = scope.ledger.reserve(amount)
                if hold is not None:
                    return allotment, hold, prompt, cut
                if not scope.ledger.waits_for_settlements():
                    raise _exceeded(self.name, scope)  # a cut prompt came out longer than it looked
                await scope.ledger.settlement()
        scope.check()
        raise AssertionError("a call waited for a scope that nobody had stopped")

    def _worth_waiting(self, allotment: Allotment | None, ask: Ask) -> bool:
        if allotment is None:
            return True
        if allotment.complete or not allotment.spendable or allotment.cap == ask.own_cap:
            return False
        planned = self.place.scope.planned
        return planned is not None and (
            allotment.level.share < planned.share or allotment.level.tokens < _WORTH_WAITING * planned.tokens
        )

    def _limit(self, prompt: Prompt, cap: int | None) -> int | None:
        """Output tokens a sample can write at most; None where neither a cap nor a window is known."""
        window = self.runtime.backend.window
        left = None if window is None or prompt.tokens is None else max(1, window - len(prompt.tokens))
        limits = (self.maker.own_cap(self.op.site), cap, left)
        return min((limit for limit in limits if limit is not None), default=None)

    def _new_draw(
        self,
        samples: Sequence[int],
        attempt: int,
        prompt: Prompt,
        limit: int | None,
        decided: Callable[[int, Any], bool],
        *,
        replayed: bool = False,
        single: bool = False,
    ) -> Draw:
        """single: the request is of one sample, which stands for the only one of `samples`."""
        last = attempt == self.op.site.retries
        journal = None if replayed else self.maker.journal
        return Draw(
            run=self.maker.run,
            node=self.node.name,
            site=self.op.site,
            prompt=prompt,
            runtime=self.runtime,
            indices=self.indices,
            samples=tuple(samples),
            number=(lambda index: samples[0]) if single else (lambda index: index),
            limit=limit,
            last=last,
            decide=decided,
            keep=None if journal is None else (lambda s, done: journal.keep(self._key(s, attempt), done)),
            replayed=replayed,
        )

    def _collect(self, draw: Draw) -> None:
        """Take over what has ended, on top of what came before it."""
        for sample, (record, span, completion) in draw.ended.items():
            self.records[sample] = record
            self.costs[sample] = self.costs[sample].after(span, completion.prompt_tokens, completion.output_tokens)
            self.completions.append(completion)

    def _drop(self, samples: Sequence[int]) -> None:
        self.maker.run.repair(
            self.node.name,
            f"the budget leaves room for {self.drawn - len(samples)} of {self.drawn} samples",
            self.place.indices,
        )
        self._fill(samples, _exceeded(self.name, self.place.scope))

    def _fill(self, samples: Sequence[int], error: BranchCancelled | BudgetExceeded) -> None:
        """Holes where no record came."""
        for sample in samples:
            if self.records[sample] is None:
                self.records[sample] = Hole(label(self.node.name, self.indices(sample)), error)

    def told(self) -> Made:
        """The call as DSPy hears of it."""
        return Made(
            order=(self.node.name, self.place.indices),
            binding=self.binding,
            site=self.op.site,
            inputs=self.inputs,
            prompt=self.prompt,
            completions=tuple(self.completions),
            records=tuple(record for record in self.records if record is not None),
        )

    def outcome(self) -> tuple[Any, Cost]:
        """The record, or the list of them, and the longest way to it."""
        cost = longest(self.costs)
        for record in self.records:
            if _unread(record):
                error = record.error
                self.maker.run.failures.append(
                    f"{record.path}: {type(error).__name__}: the completion could not be parsed"
                )
        if self.op.n is None:
            if isinstance(self.records[0], Hole):
                raise self.records[0].error
            return self.records[0], cost
        joins.enough(self.name, self.records, self.op.min_branches)
        if all(isinstance(record, Hole) for record in self.records):
            self.place.scope.check()
        return (self.records * self.op.n if self.drawn < self.op.n else self.records), cost


def _unread(record: Any) -> bool:
    """Whether there was a completion that could not be read."""
    return isinstance(record, Hole) and not isinstance(record.error, (BranchCancelled, BudgetExceeded))


def _exceeded(name: str, scope: Scope) -> BudgetExceeded:
    assert scope.ledger is not None, "only a budget is exceeded"
    return BudgetExceeded(
        f"the budget leaves no room for {name}",
        why=f"it is {scope.ledger}, and even the shortest useful call and what must follow it do not fit any more",
        fix="give more, lower the program's widths, or mark partial results with rf.answer(...)",
    )


@lru_cache(maxsize=512)
def template(site: Site) -> PromptTemplate:
    """The compiled prompt of a site: sites compare by content."""
    return PromptTemplate(site.signature, site.style, site.demos, site.adapter)


def runtime_of(lm: dspy.BaseLM | None, site: str) -> Runtime:
    """The runtime behind a language model. Raises BackendError where there is none."""
    if lm is None:
        raise BackendError(
            "no language model is loaded",
            why=f"call site {site!r} has none of its own and none is configured",
            fix='dspy.configure(lm=rf.vllm("embedded"))',
        )
    runtime = getattr(getattr(lm, "engine", None), "runtime", None)
    if not isinstance(runtime, Runtime):
        raise BackendError(
            f"programs do not run on {getattr(lm, 'model', lm)!r} yet",
            why="it is no ReasonFlow engine, so there is nothing to schedule its branches on",
            fix="use rf.vllm(...) for a local model, or rf.scripted(...) in tests",
        )
    return runtime
