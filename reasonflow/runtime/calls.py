"""The model calls of one run: what they share, and the engine each goes to."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import dspy

from reasonflow.backends.dspy_lm_engines import runtime_behind
from reasonflow.errors import BackendError
from reasonflow.language.tracing import Binding
from reasonflow.plan.nodes import Call, Generate, Node, Site
from reasonflow.prompts.context import ContextTemplate
from reasonflow.prompts.render import PromptTemplate
from reasonflow.runtime.allotment import Allotter
from reasonflow.runtime.call import Made, ModelCall, TracedCalls, template
from reasonflow.runtime.early import Early
from reasonflow.runtime.inside import Inside
from reasonflow.runtime.journal import Journal
from reasonflow.runtime.price import Prices
from reasonflow.runtime.record import Run
from reasonflow.runtime.runtime import Runtime
from reasonflow.runtime.scheduler import Ticket
from reasonflow.runtime.values import longest
from reasonflow.runtime.where import Outcome, Where
from reasonflow.runtime.workload import Workload


@dataclass(slots=True)
class CallMaker:
    """Makes the model calls of one run."""

    run: Run
    number: int
    """The run's place among those of its engine."""
    work: Workload
    bindings: Mapping[str, Binding]
    runtimes: Mapping[str, Runtime]
    """The engine of each call site."""
    home: Runtime
    """The engine on whose loop the run lives."""
    made: list[Made | TracedCalls]
    journal: Journal | None
    allotter: Allotter
    prices: Prices

    _templates: dict[int, PromptTemplate | ContextTemplate] = field(default_factory=dict)
    """By the identity of the site: its hash covers all of its content, and took as long as a short prompt."""

    def template(self, site: Site) -> PromptTemplate | ContextTemplate:
        """The compiled prompt of a site of this run's plan."""
        found = self._templates.get(id(site))
        if found is None:
            found = self._templates[id(site)] = template(site)
        return found

    def generate(
        self, node: Node, position: int, values: Sequence[Any], where: Where, early: Early | None = None
    ) -> Coroutine[Any, Any, Outcome]:
        """Render, sample, parse. One record, or a list of them with holes where there is none. early: told of each.

        Raises BackendError; AdapterParseError where a single sample cannot be read; BudgetExceeded where the budget
        allows no sample; RunError where a group has fewer records than it must.
        """
        op = node.op
        assert isinstance(op, Generate)
        where.scope.check()
        return self._outcome(ModelCall(self, node, op, position, where, values, early))

    async def _outcome(self, call: ModelCall) -> Outcome:
        try:
            samples = call.begin()
            if samples:
                await call.draw(samples)
            if call.op.site.retries:
                await call.ask_again()
        finally:
            call.where.furthest.reach(longest(call.costs))
            if call.completions or call.cancelled:
                self.made.append(call.told())
        return call.outcome()

    def inside(self, node: Node, op: Call, where: Where) -> Inside:
        """What the model calls of a function are made with."""
        return Inside(
            run=self.run,
            home=self.home,
            node=node.name,
            cap=op.cap,
            where=where,
            ticket=Ticket(run=self.number, path=node.priority, site=f"{self.run.program}/{node.name}", work=self.work),
            journal=self.journal,
            price=self.prices.of,
        )

    @contextmanager
    def told_to_dspy(self, node: Node, indices: tuple[int, ...]) -> Iterator[None]:
        """What DSPy's own predictors do inside a function enters the caller's trace where the function stands."""
        if dspy.settings.trace is None:
            yield
            return
        entries: list[Any] = []
        try:
            with dspy.context(trace=entries):
                yield
        finally:
            if entries:
                self.made.append(TracedCalls(order=(node.name, indices), entries=entries))

    def own_cap(self, site: Site) -> int | None:
        """What a sample of this site may write where no budget says less; None: what the window leaves."""
        cap = site.sampling.max_tokens
        return self.runtimes[site.name].backend.default_max_tokens if cap is None else cap


def runtime_of(lm: dspy.BaseLM | None, site: str) -> Runtime:
    """The runtime behind a language model. Raises BackendError where there is none."""
    if lm is None:
        raise BackendError(
            "no language model is loaded",
            why=f"call site {site!r} has none of its own and none is configured",
            fix='dspy.configure(lm=rf.vllm("embedded"))',
        )
    runtime = runtime_behind(lm)
    if runtime is None:
        raise BackendError(
            f"programs do not run on a {type(lm).__name__}",
            why=f"call site {site!r} has it as its language model, and it is no dspy.LM",
            fix='dspy.configure(lm=rf.vllm("embedded")), or any other dspy.LM',
        )
    return runtime
