"""The model calls of one run: what they share, and the engine each goes to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dspy

from reasonflow.backends.dspy_lm_engines import runtime_behind
from reasonflow.errors import BackendError
from reasonflow.language.tracing import Binding
from reasonflow.plan.nodes import Call, Generate, Node, Site
from reasonflow.runtime.allotment import Allotter
from reasonflow.runtime.call import Made, ModelCall, Place, TracedCalls
from reasonflow.runtime.evaluation import Where
from reasonflow.runtime.inside import Inside
from reasonflow.runtime.journal import Journal
from reasonflow.runtime.price import Prices
from reasonflow.runtime.record import Run
from reasonflow.runtime.runtime import Runtime
from reasonflow.runtime.scheduler import Ticket
from reasonflow.runtime.values import Cost, longest
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

    async def generate(self, node: Node, values: Sequence[Any], before: Cost, place: Place) -> tuple[Any, Cost]:
        """Render, sample, parse. One record, or a list of them with holes where there is none.

        Raises BackendError; AdapterParseError where a single sample cannot be read; BudgetExceeded where the budget
        allows no sample; RunError where a group has fewer records than it must.
        """
        op = node.op
        assert isinstance(op, Generate)
        place.scope.check()
        call = ModelCall(self, node, op, before, place, values)
        try:
            await call.draw()
            await call.ask_again()
        finally:
            place.furthest.reach(longest(call.costs))
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
