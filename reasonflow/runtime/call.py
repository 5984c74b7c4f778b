"""One model call, from its inputs to its outcome: rendered, granted room, drawn, and asked again where it must be."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import anyio

from reasonflow.backends.protocol import Completion, Prompt, Request, Sampling
from reasonflow.errors import BackendError, BranchCancelled, BudgetExceeded
from reasonflow.language.tracing import Binding
from reasonflow.plan.nodes import Generate, Node, Site
from reasonflow.prompts.context import ROOM, ContextTemplate
from reasonflow.prompts.render import PromptTemplate
from reasonflow.runtime import joins
from reasonflow.runtime.allotment import Ask
from reasonflow.runtime.draw import Draw, journal_key
from reasonflow.runtime.early import Early
from reasonflow.runtime.fitting import Fitting
from reasonflow.runtime.frames import Frame
from reasonflow.runtime.ledger import Amount
from reasonflow.runtime.price import Price
from reasonflow.runtime.reading import flowing
from reasonflow.runtime.record import label
from reasonflow.runtime.reservation import Granted, exceeded, grant
from reasonflow.runtime.scheduler import Ticket
from reasonflow.runtime.seeds import sample_seed
from reasonflow.runtime.sending import output_limit, send
from reasonflow.runtime.stopping import stopping_of
from reasonflow.runtime.tally import OUTVOTED, tallies
from reasonflow.runtime.values import Cost, Hole, longest
from reasonflow.runtime.where import Where

if TYPE_CHECKING:
    from reasonflow.runtime.calls import CallMaker

_RETRY_STRIDE = 7919
"""Moves a retry's seed away from the siblings' seeds, which are consecutive."""


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
    cancelled: tuple[Completion, ...]
    """Samples that were taken out of the engine, as far as they had come: spent, but nothing to show."""
    records: tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedCalls:
    """What DSPy's own predictors did inside a function of the run."""

    order: tuple[str, tuple[int, ...]]
    entries: Sequence[Any]
    """As DSPy traces them: (predictor, inputs, prediction)."""


class ModelCall:
    """One call of one site, from its inputs to its outcome."""

    def __init__(
        self,
        maker: CallMaker,
        node: Node,
        op: Generate,
        position: int,
        where: Where,
        values: Sequence[Any],
        early: Early | None = None,
    ) -> None:
        """early: told of each record as it comes, where a join does not wait for all of them."""
        site = op.site
        self.maker, self.node, self.op, self.position, self.where = maker, node, op, position, where
        self.binding, self.runtime = maker.bindings[site.name], maker.runtimes[site.name]
        self.inputs = {name: flowing(value) for name, value in op.reads(values).items()}
        self._stopping = stopping_of(op, values)
        backend = self.runtime.backend
        room = self.inputs.pop(ROOM, None) if site.continues else None
        self._room = None if room is None else max(1, int(room))
        """Tokens that each sample may write, where its caller says so."""
        self.fitting = Fitting(
            maker.template(site), self.inputs, backend.tokenizer, backend.window, site.sampling.max_tokens
        )
        self.drawn = 1 if site.sampling.temperature == 0 else (op.n or 1)
        """Samples there are to draw: greedy ones are all the same."""
        self.prompt = self.fitting.whole
        self.records: list[Any] = [None] * self.drawn
        self.costs: list[Cost] = [where.entry] * self.drawn
        self.completions: list[Completion] = []
        self.cancelled: list[Completion] = []
        self._early = early
        self._decides: Callable[[int, Any], bool] = tallies((), 1)
        self.decided = False
        """Whether the rest of its samples cannot matter any more."""

    @property
    def price(self) -> Price:
        """Of its engine."""
        return self.maker.prices.of(self.runtime)

    @property
    def name(self) -> str:
        """As people read it."""
        return label(self.node.name, self.where.indices)

    def indices(self, sample: int) -> tuple[int, ...]:
        """Of one sample."""
        return (*self.where.indices, sample) if self.op.n is not None else self.where.indices

    def begin(self) -> list[int]:
        """Take what an earlier session has recorded; the samples that are left to draw."""
        self._decides = tallies(self.op.stops, self.drawn, self.op.min_branches)
        if self._early is not None and self.drawn == self.op.n:
            self._early.begin(self.drawn, self.op.min_branches, self.where.entry)
        if self.maker.journal is None:
            return list(range(self.drawn))
        found = self._recorded(0, range(self.drawn))
        if found and self._replay(found, 0, self._decides):
            return []
        return [sample for sample in range(self.drawn) if sample not in found]

    def draw(self, samples: list[int]) -> Coroutine[Any, Any, None]:
        """Draw these, as many as the budget has room for."""
        return self._sample(samples, 0, self._decides)

    async def ask_again(self) -> None:
        """Ask again for what could not be read, where the site allows it: all of them beside each other."""
        for attempt in range(1, self.op.site.retries + 1):
            unread = [number for number, record in enumerate(self.records) if _unread(record)]
            if not unread or self.decided or self.where.scope.stopped is not None:
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
            self.maker.run.program,
            self.name,
            sample,
            attempt,
            self.fitting.whole,
            self._sampling(attempt, sample),
            None if self._stopping is None else self._stopping.settings,
        )

    def _sampling(self, attempt: int, sample: int = 0) -> Sampling:
        path = (*self.where.indices, 0) if self.op.n is not None else self.where.indices
        seed = sample_seed(self.binding.seed, self.node.name, path)
        if attempt:
            seed = (seed + sample + _RETRY_STRIDE * attempt) % (1 << 31)
        return self.op.site.sampling.with_seed(seed)

    def _replay(self, found: Mapping[int, Completion], attempt: int, decided: Callable[[int, Any], bool]) -> bool:
        """Take recorded samples as they are; whether the rest does not matter any more."""
        draw = self._new_draw(list(found), attempt, self.prompt, None, decided, replayed=True)
        tokens = sum(completion.prompt_tokens + completion.output_tokens for completion in found.values())
        dollars = sum(self.price.of(c.prompt_tokens, c.output_tokens) for c in found.values())
        ledger = self.where.scope.ledger
        amount = Amount(total=tokens, calls=len(found), dollars=dollars)
        if ledger is not None and not ledger.recall(amount):
            raise exceeded(self.name, self.where.scope)
        for sample, completion in found.items():
            draw.take((sample, completion))
        self._collect(draw)
        return draw.decided

    async def _sample(self, samples: list[int], attempt: int, decided: Callable[[int, Any], bool]) -> None:
        """Send them, wait for their ends, settle what they took."""
        if self.where.frame is None or self.where.scope.ledger is None:
            granted = Granted(*self.fitting.render(), width=len(samples))
        else:
            granted = await self._granted(len(samples), self.where.frame, retrying=attempt > 0)
        if granted.cut:
            self.maker.run.repair(self.node.name, granted.cut, self.where.indices)
        if attempt == 0:
            self.prompt = granted.prompt
        if granted.width < len(samples):
            self._drop(samples[granted.width :])
            samples = samples[: granted.width]
        request, places = self._request(samples, attempt, granted)
        limit = self._limit(granted.prompt, granted.cap)
        draw = self._new_draw(samples, attempt, granted.prompt, limit, decided, single=attempt > 0)
        try:
            if self.where.scope.ledger is None and not self.op.stops:  # nothing can end it before its time
                await self._send(request, places, draw.take)
            else:
                with self.where.scope.call() as calling:
                    draw.enough = calling.cancel
                    await self._send(request, places, draw.take)
        finally:
            if granted.hold is not None:
                granted.hold.settle(draw.spent(self.price))
                cut_off = limit != self._limit(granted.prompt, None) and draw.ran_out
                self.maker.run.squeezed |= granted.squeezed or cut_off
            self._collect(draw)
        if draw.decided:
            self._fill(samples, BranchCancelled(OUTVOTED))
        elif self.where.scope.stopped is not None:
            self._fill(samples, self.where.scope.stopped)

    def _request(self, samples: list[int], attempt: int, granted: Granted) -> tuple[Request, Sequence[int] | None]:
        """The request for these samples, and which of its own samples they are (None: all)."""
        sampling = self._sampling(attempt, samples[0])
        whole = attempt > 0 or samples == list(range(len(samples)))
        caps = [cap for cap in (granted.cap, self._room) if cap is not None]
        if caps:
            own = sampling.max_tokens
            sampling = replace(sampling, max_tokens=min(caps if own is None else (*caps, own)))
        request = Request(
            prompt=granted.prompt,
            sampling=sampling,
            n=1 if attempt else len(samples) if whole else self.drawn,
            priority=self.binding.priority,
            label=self.name,
            stream=self.maker.run.streamed,
        )
        return request, None if whole else samples

    def _send(
        self, request: Request, places: Sequence[int] | None, observe: Callable[[Any], None]
    ) -> Coroutine[Any, Any, Any]:
        if self._stopping is None:
            return self._ask(places, request, observe)
        samples = range(request.n) if places is None else places
        shown = self.maker.run.streamed
        return self._stopping.send(request, samples, partial(self._ask, None), observe, shown=shown)

    def _ask(
        self, places: Sequence[int] | None, request: Request, observe: Callable[[Any], None]
    ) -> Coroutine[Any, Any, Any]:
        maker = self.maker
        site = f"{maker.run.program}/{self.op.site.name}"
        ticket = Ticket(run=maker.number, path=self.node.priority, site=site, work=maker.work)
        self.maker.run.requests += 1
        return send(self.maker.home, self.runtime, request, observe, ticket, places)

    async def _granted(self, samples: int, frame: Frame, *, retrying: bool) -> Granted:
        """What the budget has room for."""
        ask = Ask(
            op=self.op,
            before=longest(self.costs) if retrying else self.where.entry,
            prompt=self.fitting.tokens,
            own_cap=self._limit(self.fitting.whole, None),
            width=samples,
            least=1 if retrying else min(samples, self.op.min_branches or 1),
        )
        position = self.position
        return await grant(
            self.name,
            ask,
            self.where.scope,
            lambda: self.maker.allotter.call(ask, frame, position),
            self.fitting,
            lambda prompt: self._limit(prompt, None),
            self.price,
        )

    def _limit(self, prompt: Prompt, cap: int | None) -> int | None:
        """Output tokens a sample can write at most; None where neither a cap nor a window is known."""
        return output_limit(self.runtime.backend, prompt, self.maker.own_cap(self.op.site), cap, self._room)

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
        return Draw(
            run=self.maker.run,
            node=self.node.name,
            site=self.op.site,
            prompt=prompt,
            runtime=self.runtime,
            indices=self.indices,
            samples=tuple(samples),
            only=samples[0] if single else None,
            limit=limit,
            last=attempt == self.op.site.retries,
            decide=decided,
            come=None if self._early is None else self._come,
            keep=None if replayed else self._keep(attempt),
            replayed=replayed,
        )

    def _come(self, sample: int, record: Any, span: int, completion: Completion) -> None:
        assert self._early is not None
        self._early.come(
            sample, record, self.costs[sample].after(span, completion.prompt_tokens, completion.output_tokens)
        )

    def _keep(self, attempt: int) -> Callable[[int, Completion], None] | None:
        """Records a sample in the journal, where there is one."""
        journal = self.maker.journal
        return None if journal is None else (lambda s, done: journal.keep(self._key(s, attempt), done))

    def _collect(self, draw: Draw) -> None:
        """Take over what has ended, on top of what came before it."""
        for sample, (record, span, completion) in draw.ended.items():
            self.records[sample] = record
            self.costs[sample] = self.costs[sample].after(span, completion.prompt_tokens, completion.output_tokens)
            self.completions.append(completion)
        for sample, (hole, span, completion) in draw.gated.items():
            self.records[sample] = hole
            self.costs[sample] = self.costs[sample].after(span, completion.prompt_tokens, completion.output_tokens)
            self.cancelled.append(completion)
        self.cancelled += draw.cancelled
        self.decided = self.decided or draw.decided

    def _drop(self, samples: Sequence[int]) -> None:
        self.maker.run.repair(
            self.node.name,
            f"the budget leaves room for {self.drawn - len(samples)} of {self.drawn} samples",
            self.where.indices,
        )
        self._fill(samples, exceeded(self.name, self.where.scope))

    def _fill(self, samples: Sequence[int], error: BranchCancelled | BudgetExceeded) -> None:
        """Holes where no record came."""
        for sample in samples:
            if self.records[sample] is None:
                self.records[sample] = Hole(label(self.node.name, self.indices(sample)), error)

    def told(self) -> Made:
        """The call as DSPy hears of it."""
        return Made(
            order=(self.node.name, self.where.indices),
            binding=self.binding,
            site=self.op.site,
            inputs=self.inputs,
            prompt=self.prompt,
            completions=tuple(self.completions),
            cancelled=tuple(self.cancelled),
            records=tuple(record for record in self.records if record is not None),
        )

    def outcome(self) -> tuple[Any, Cost]:
        """The record, or the list of them, and the longest way to it."""
        cost = longest(self.costs)
        for record in self.records:
            if isinstance(record, Hole) and _unread(record):
                error = record.error
                self.maker.run.failures.append(
                    f"{record.path}: {type(error).__name__}: the completion could not be parsed"
                )
        if self.op.n is None:
            if isinstance(self.records[0], Hole):
                raise self.records[0].error
            return self.records[0], cost
        joins.enough(self.name, self.records, self.op.min_branches)
        if self.where.scope.stopped is not None and all(isinstance(record, Hole) for record in self.records):
            self.where.scope.check()
        return (self.records * self.op.n if self.drawn < self.op.n else self.records), cost


def _unread(record: Any) -> bool:
    """Whether there was a completion that could not be read."""
    return isinstance(record, Hole) and not isinstance(record.error, (BranchCancelled, BudgetExceeded))


@lru_cache(maxsize=512)
def template(site: Site) -> PromptTemplate | ContextTemplate:
    """The compiled prompt of a site: sites compare by content."""
    prompt = PromptTemplate(site.signature, site.style, site.demos, site.adapter, site.layout)
    return ContextTemplate(prompt, site.unmarked) if site.continues else prompt
