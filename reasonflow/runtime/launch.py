"""From a traced program and its inputs to a prediction: what `Program` calls, sync and async."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import cache, partial
from typing import Any

import anyio.to_thread
import dspy

from reasonflow.backends.protocol import Backend
from reasonflow.compiler.allocate_budget import allocate_budget, can_finish
from reasonflow.compiler.passes import lower
from reasonflow.errors import BudgetExceeded
from reasonflow.language.dspy_warnings import equal_signatures
from reasonflow.language.program import Traced
from reasonflow.plan.budget import Budget
from reasonflow.plan.explain import Explanation, explain
from reasonflow.plan.forecast import Costs, Size
from reasonflow.plan.nodes import Call, Generate, Plan, Site, Within
from reasonflow.plan.same import same
from reasonflow.runtime import dspy_report
from reasonflow.runtime.allotment import Allotter
from reasonflow.runtime.ambient import ambient
from reasonflow.runtime.call import Made, TracedCalls, template
from reasonflow.runtime.calls import CallMaker
from reasonflow.runtime.engines import engines_of, known_backends, notes, widest
from reasonflow.runtime.events import Watch
from reasonflow.runtime.executor import Executor
from reasonflow.runtime.fitting import Fitting
from reasonflow.runtime.frames import Frame
from reasonflow.runtime.joins import all_failed
from reasonflow.runtime.ledger import Ledger
from reasonflow.runtime.price import Prices
from reasonflow.runtime.reading import missing_answer
from reasonflow.runtime.record import Run
from reasonflow.runtime.scope import Scope
from reasonflow.runtime.stopping import check_engines
from reasonflow.runtime.values import FREE, Hole, Record, solid
from reasonflow.runtime.where import Where
from reasonflow.runtime.workload import Workload


class ProgramOutput(dspy.Prediction):
    """What a program gave: a DSPy prediction with the record of its run."""

    _run: Run | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        base = args[0] if args else kwargs.get("base")  # how DSPy copies
        if isinstance(base, ProgramOutput):
            self._run = base._run

    @property
    def run(self) -> Run:
        """What happened, call by call. A property and not a field: metrics and demos do not see it."""
        assert self._run is not None, "a program's output without its run"
        return self._run


def launch(traced: Traced, inputs: Mapping[str, Any], plan: Plan | None = None) -> ProgramOutput:
    """Run and wait. Raises what the run raises, with the run's record as `error.run`.

    A call that is equal to one under way joins it: both get its result. plan: run in place of the lowered one, to see
    what a pass does.
    """
    if (host := ambient().host) is not None:
        given: ProgramOutput = host.run(traced, inputs, partial(launch, traced, inputs, plan))
        return given
    mine = _Launch(traced, inputs, plan=plan)
    try:
        job = mine.home.run(mine.execute, mine.key)
    except BaseException as error:
        mine.failed(error)
        raise
    return _delivered(job, mine)


async def alaunch(traced: Traced, inputs: Mapping[str, Any], watch: Watch | None = None) -> ProgramOutput:
    """As `launch`, awaited; cancelling it cancels the run. watch: told of its events, on the engine's thread."""
    if ambient().host is not None:
        return await anyio.to_thread.run_sync(partial(launch, traced, inputs))
    mine = _Launch(traced, inputs, watch)
    try:
        job = await mine.home.arun(mine.execute, mine.key)
    except BaseException as error:
        mine.failed(error)
        raise
    return _delivered(job, mine)


def explained(traced: Traced) -> Explanation:
    """The lowered plan on the engine it would run on, within its budget. Starts nothing.

    Raises BudgetExceeded where the budget does not allow a single answer.
    """
    plan = lower(traced.plan)
    backends = known_backends(traced, plan)
    window = widest(backends.values())
    sites = {name: binding.predictor for name, binding in traced.bindings.items()}
    equal = (f"{one} and {other} have equal signatures: GEPA mixes them up" for one, other in equal_signatures(sites))
    told = (*notes(backends), *equal)
    if traced.budget is None:
        return explain(traced.name, plan, window, notes=told)
    costs = costs_of(backends)
    allocated = allocate_budget(plan, traced.budget, costs)
    finishes = can_finish(plan, traced.budget, costs)
    return explain(traced.name, allocated, window, traced.budget, finishes=finishes, notes=told)


def costs_of(backends: Mapping[str, Backend]) -> Costs:
    """What prompts and calls cost on these engines, by call site; nothing is known of the prompts where there is no
    tokenizer.
    """

    @cache
    def template_tokens(site: Site) -> int:
        backend = backends.get(site.name)
        if backend is None or not site.begins:
            return 0
        empty = dict.fromkeys(site.signature.input_fields, "")
        return Fitting(template(site), empty, backend.tokenizer, None, None).whole_tokens

    def max_tokens(site: Site) -> int | None:
        backend = backends.get(site.name)
        if site.sampling.max_tokens is not None or backend is None:
            return site.sampling.max_tokens
        return backend.default_max_tokens

    return Costs(template_tokens=template_tokens, max_tokens=max_tokens, window=widest(backends.values()))


def _delivered(job: _Launch, mine: _Launch) -> ProgramOutput:
    """The output of the run that answered, which another caller may have started."""
    job.report(spending=job is mine)
    return job.output()


class _Launch:
    """One run, from the snapshot of the caller's context to what the caller gets."""

    def __init__(
        self, traced: Traced, inputs: Mapping[str, Any], watch: Watch | None = None, plan: Plan | None = None
    ) -> None:
        self.traced = traced
        self.plan = lower(traced.plan) if plan is None else plan
        self.inputs = inputs
        self.around = ambient()
        self.engines = engines_of(traced, self.plan)
        check_engines(self.plan, self.engines.backends)
        self.home = self.engines.home
        self.seeds = tuple(traced.bindings[name].seed for name in self.engines.of)
        told = notes(self.engines.backends)
        self.explanation = explain(traced.name, self.plan, self.engines.window, traced.budget, notes=told)
        self.run = Run(traced.name, self.explanation, next(iter(self.seeds), 0))
        self.run.streamed = watch is not None or self.around.streamed
        for listener in (watch, self.around.watch):
            if listener is not None:
                self.run.watch(listener)
        self.work = Workload(traced.name, self.plan)
        self.made: list[Made | TracedCalls] = []
        self.value: Any = None

    @property
    def key(self) -> Hashable:
        """Equal for calls that would do the same: one plan, inputs, seeds, engines and budget. None: not to be shared.

        What has effects is done as often as it is asked for; a caller with a journal or an audience of its own, and one
        that accounts for the run as a part of its own, gets a run of its own.
        """
        effects = any(isinstance(node.op, Call) and node.op.effects for node in self.plan.walk())
        around = self.around
        if effects or self.run.streamed or any((around.journal, around.watch, around.inside)):
            return None
        engines = tuple(id(runtime) for runtime in self.engines.of.values())
        return _Key((self.plan, self.seeds, engines, self.traced.budget, id(around.ledger)), dict(self.inputs))

    async def execute(self) -> _Launch:
        """On the runtime's loop: evaluate the plan and close the record."""
        given = [(self.inputs.get(name), FREE) for name in self.traced.inputs]
        cost = FREE
        complete = False
        outer = self.around.inside
        begun = None if outer is None else await outer.program(self.run, self.explanation.bound.calls)
        try:
            # Before the clock: an engine that takes seconds to load would drown what the first run measures.
            await self.engines.start()
            self.run.begin(self.home.backend.fingerprint(), self.engines.fingerprints())
            executor, ledger = self._prepare()
            scope = Scope(ledger)
            frame = None if ledger is None else Frame(self.plan, scope)
            if ledger is None:
                self.value, cost = await executor.evaluate(self.plan, given, Where(scope, frame))
                complete = True
            else:
                with scope.deadline(*executor.deadline(ledger, "the run")):
                    (self.value, cost), cut = await executor.bounded(self.plan, given, Where(scope, frame))
                complete = cut is None
                self.run.cut = "" if cut is None else cut.what
        except BaseException as error:
            error.run = self.run  # type: ignore[attr-defined]  # a user's exception tells it as well as ours
            if isinstance(error, BudgetExceeded):
                self.run.cut = error.what
            raise
        finally:
            if self.run.fingerprint:  # what an engine learns of itself meanwhile; another one after a restart
                self.run.know(self.home.backend.fingerprint(), self.engines.fingerprints())
            self.run.end(cost, complete=complete)
            for runtime in {self.home, *self.engines.of.values()}:
                runtime.run_ended(self.work)
            if outer is not None and begun is not None:
                await outer.ended(self.run, *begun)
        return self

    def _prepare(self) -> tuple[Executor, Ledger | None]:
        """What the plan is run with: known only now that the engines are ready."""
        limited = self.traced.budget is not None or self.around.ledger is not None
        ledger = Ledger(self.traced.budget or Budget(), self.around.ledger) if limited else None
        costs = costs_of(self.engines.backends)
        sizes = partial(_sizes, self.inputs, self.traced.inputs, self.home.backend)
        if self.traced.budget is not None:
            self.plan = allocate_budget(self.plan, self.traced.budget, costs, sizes())
        prices = self.engines.prices(self.traced) if self._in_dollars(ledger) else Prices({})
        calls = CallMaker(
            run=self.run,
            number=self.home.next_run(),
            work=self.work,
            bindings=self.traced.bindings,
            runtimes=self.engines.of,
            home=self.home,
            made=self.made,
            journal=self.around.journal,
            allotter=Allotter(self.plan, sizes, costs, prices.dearest),
            prices=prices,
        )
        return Executor(calls, self.run), ledger

    def _in_dollars(self, ledger: Ledger | None) -> bool:
        inside = any(isinstance(n.op, Within) and n.op.budget.dollars is not None for n in self.plan.walk())
        return inside or (ledger is not None and ledger.limits("dollars"))

    def failed(self, error: BaseException) -> None:
        """In the caller's context: the record goes along with the error, an interruption's too."""
        if getattr(error, "run", None) is None and self.run.wall_s:
            error.run = self.run  # type: ignore[attr-defined]
        self.report()

    def report(self, *, spending: bool = True) -> None:
        """In the caller's context, and also of a run that failed: what was spent was spent, but only once."""
        dspy_report.report(self.made, self.plan, self.traced, result=self.value, spending=spending)

    def output(self) -> ProgramOutput:
        """The prediction. Raises AdapterParseError where the result's text holds no answer."""
        result = self._prediction(self.value, self.plan)
        result._run = self.run
        return result

    def _prediction(self, value: Any, plan: Plan) -> ProgramOutput:
        if isinstance(value, Record):
            self._check(value)
            return ProgramOutput(**value.fields)
        if isinstance(value, list) and value and all(isinstance(item, (Record, Hole)) for item in value):
            records = solid(value)
            if not records:
                raise all_failed(self.traced.name, value)
            self._check(records[0])
            fields: ProgramOutput = ProgramOutput.from_completions([record.fields for record in records])
            return fields
        if isinstance(value, dict):
            return ProgramOutput(**value)
        if isinstance(value, dspy.Prediction):
            return ProgramOutput(**value.toDict())
        return ProgramOutput(output=value)

    def _check(self, record: Record) -> None:
        """A run must not end in silence: a result without its answer is an error that shows the text."""
        if all(value is not None for value in record.fields.values()):
            return
        sites = [node.op.site for node in self.plan.walk() if isinstance(node.op, Generate)]
        signature = next((s.signature for s in sites if set(s.signature.output_fields) <= set(record)), None)
        error = missing_answer(signature or sites[-1].signature, record)
        error.run = self.run
        raise error


class _Key:
    """What makes two calls the same. Inputs are compared, since not all can be hashed."""

    def __init__(self, what: Hashable, inputs: Mapping[str, Any]) -> None:
        self._what = what
        self._inputs = inputs

    def __hash__(self) -> int:
        return hash(self._what)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Key) or self._what != other._what:
            return False
        return same(self._inputs, other._inputs)


def _sizes(inputs: Mapping[str, Any], names: Sequence[str], backend: Backend) -> list[Size]:
    return [_size(inputs.get(name), backend) for name in names]


def _size(value: Any, backend: Backend) -> Size:
    if isinstance(value, (list, tuple)):
        sizes = [_size(item, backend) for item in value]
        return Size(max((size.tokens for size in sizes), default=0.0), max(1, len(sizes)))
    text = "" if value is None else str(value)
    return Size(len(backend.tokenizer.encode(text)) if backend.tokenizer is not None else len(text) / 4)
