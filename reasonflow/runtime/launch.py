"""From a traced program and its inputs to a prediction: what `Program` calls, sync and async."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dspy

from reasonflow.compiler.passes import lower
from reasonflow.language.program import Traced
from reasonflow.plan.explain import explain
from reasonflow.plan.nodes import Generate, Plan
from reasonflow.runtime import dspy_report
from reasonflow.runtime.calls import CallMaker, Made, missing_answer, runtime_of
from reasonflow.runtime.executor import Executor
from reasonflow.runtime.joins import all_failed
from reasonflow.runtime.record import Run
from reasonflow.runtime.runtime import Runtime
from reasonflow.runtime.values import FREE, Hole, Record, solid


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


def launch(traced: Traced, inputs: Mapping[str, Any]) -> ProgramOutput:
    """Run and wait. Raises what the run raises, with the run's record as `error.run`."""
    job = _Launch(traced, inputs)
    try:
        job.home.run(job.execute)
    finally:
        job.report()
    return job.output()


async def alaunch(traced: Traced, inputs: Mapping[str, Any]) -> ProgramOutput:
    """As `launch`, awaited; cancelling it cancels the run."""
    job = _Launch(traced, inputs)
    try:
        await job.home.arun(job.execute)
    finally:
        job.report()
    return job.output()


def window_of(traced: Traced) -> int | None:
    """The context window of the engine the program would run on, or None where none is known. Starts nothing."""
    runtime = getattr(getattr(traced.lm, "engine", None), "runtime", None)
    return runtime.backend.window if isinstance(runtime, Runtime) else None


class _Launch:
    """One run, from the snapshot of the caller's context to what the caller gets."""

    def __init__(self, traced: Traced, inputs: Mapping[str, Any]) -> None:
        self.traced = traced
        self.plan = lower(traced.plan)
        self.inputs = inputs
        sites = [node.op.site.name for node in self.plan.walk() if isinstance(node.op, Generate)]
        self.runtimes = {name: runtime_of(traced.bindings[name].lm, name) for name in sites}
        self.home = next(iter(self.runtimes.values())) if self.runtimes else runtime_of(traced.lm, traced.name)
        seed = next((traced.bindings[name].seed for name in sites), 0)
        explanation = explain(traced.name, self.plan, self.home.backend.window)
        self.run = Run(traced.name, explanation, seed)
        self.made: list[Made] = []
        self.value: Any = None

    async def execute(self) -> None:
        """On the runtime's loop: evaluate the plan and close the record."""
        calls = CallMaker(
            run=self.run,
            number=self.home.next_run(),
            bindings=self.traced.bindings,
            runtimes=self.runtimes,
            home=self.home,
            made=self.made,
        )
        executor = Executor(calls, self.run)
        given = [(self.inputs.get(name), FREE) for name in self.traced.inputs]
        cost = FREE
        complete = False
        try:
            await self._start_engines()
            self.value, cost = await executor.evaluate(self.plan, given)
            complete = True
        except Exception as error:
            error.run = self.run  # type: ignore[attr-defined]  # a user's exception tells it as well as ours
            raise
        finally:
            self.run.end(cost, complete=complete)

    async def _start_engines(self) -> None:
        """Before the clock: an engine that takes seconds to load would drown what the first run measures."""
        for runtime in {id(found): found for found in (self.home, *self.runtimes.values())}.values():
            await runtime.arun(runtime.backend.start)
        self.run.begin(self.home.backend.fingerprint())

    def report(self) -> None:
        """In the caller's context, and also of a run that failed: what was spent was spent."""
        dspy_report.report(self.made, self.plan, self.traced)

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
        signature = next((s.signature for s in sites if tuple(s.signature.output_fields) == tuple(record)), None)
        error = missing_answer(signature or sites[-1].signature, record)
        error.run = self.run
        raise error
