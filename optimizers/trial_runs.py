"""Runs of one trial: a program with some settings over some examples, each judged and recorded as it ends."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import anyio
import anyio.to_thread
import dspy

from reasonflow.errors import BudgetExceeded, EngineDead, EngineStartError, InputError, ProgramError
from reasonflow.language.program import Program
from reasonflow.optimizers.trial_record import Result, TrialRecord
from reasonflow.plan.budget import Budget
from reasonflow.runtime.ambient import surrounded
from reasonflow.runtime.ledger import Amount, Ledger
from reasonflow.runtime.price import Price
from reasonflow.runtime.seeds import sample_seed
from reasonflow.runtime.spending import Room, Spending

Metric: TypeAlias = Callable[..., Any]
"""`metric(example, prediction)`, sync or async: True or False, a number, or a prediction with a `score`."""

_REPEATING = (EngineDead, EngineStartError, ProgramError, InputError)
"""What every further call would end in, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """What the runs of all trials share."""

    examples: Sequence[dspy.Example]
    metric: Metric
    lm: dspy.LM
    seed: int
    ledger: Ledger
    """Of the whole compile."""
    price: Price
    record: TrialRecord
    concurrency: int
    """Runs in flight."""

    async def block(self, program: Program, trial: int, wanted: Sequence[int], *, strict: bool) -> bool:
        """Run the trial on these examples, `concurrency` at a time; False where the budget ended it before.

        strict: a metric that raises is an error; otherwise it scores 0. Raises what every further run would raise.
        """
        done, spending = self.record.results(trial), self._spending(program, trial)
        jobs = iter([example for example in wanted if example not in done])
        stopped: list[Exception] = []
        async with anyio.create_task_group() as group:

            async def work() -> None:
                for example in jobs:  # shared: every worker takes the next one
                    try:
                        async with spending.run() as ledger:
                            if ledger is None:
                                return
                            await self._run(program, trial, example, strict, spending, ledger)
                    except Exception as error:
                        # Kept aside, since a task group would wrap it; the others' calls leave the engine at once.
                        stopped.append(error)
                        group.cancel_scope.cancel()
                        return

            for _ in range(self.concurrency):
                group.start_soon(work)
        if stopped:
            raise stopped[0]
        return not spending.stopped

    def _spending(self, program: Program, trial: int) -> Spending:
        """What admits the trial's runs: only so many at once as can end within the budget."""
        most = program.explain().bound
        each = {"calls": most.calls} | ({} if most.total_tokens is None else {"total": most.total_tokens})
        earlier = [Amount(total=result.total, calls=result.calls) for result in self.record.results(trial).values()]
        return Spending(Room(Budget(), each, earlier=earlier, price=self.price, parent=self.ledger))

    async def _run(
        self, program: Program, trial: int, example: int, strict: bool, spending: Spending, ledger: Ledger
    ) -> None:
        """One run, recorded; what the compile's budget cut is no result, and ends the trial for now."""
        journal = self.record.journal(trial, example)
        prediction: Any = None
        failed: Exception | None = None
        seed = sample_seed(self.seed, "compile", (example, 0))
        try:
            with (
                surrounded(ledger=ledger, journal=journal),
                dspy.context(lm=self.lm.copy(seed=seed), disable_history=True),
            ):
                prediction = await program.acall(**self.examples[example].inputs().toDict())
        except Exception as error:  # a program may raise anything: user code, DSPy's parsers, tools
            if repeats(error):
                raise
            failed = error
        run = getattr(prediction if failed is None else failed, "run", None)
        cut = isinstance(failed, BudgetExceeded) or (run is not None and bool(run.cut or run.squeezed))
        if cut and spending.is_to_blame(ledger, program.budget or Budget()):
            self.record.drop(trial, example, ledger.spent)
            return
        took, reused = ledger.spent, journal.reused
        dollars = self.price.of(reused.inputs, reused.outputs)
        found = Amount(calls=reused.calls, total=reused.inputs + reused.outputs, dollars=dollars)
        self.ledger.give_back(found)  # paid for when it was made; the run's own ledger says what it takes without
        score, reason = (0.0, f"{type(failed).__name__}: {failed}") if failed else (0.0, "")
        if failed is None:
            score, reason = await self._judged(self.examples[example], prediction, strict)
        sequential = run.sequential_tokens if run is not None else 0
        result = Result(score=score, sequential=sequential, total=took.total, calls=took.calls, error=reason)
        self.record.end(trial, example, result, paid=took - found)

    async def _judged(self, example: dspy.Example, prediction: Any, strict: bool) -> tuple[float, str]:
        try:
            return await score_of(self.metric, example, prediction), ""
        except Exception as error:  # a metric may raise anything
            if repeats(error):
                raise
            if strict:
                raise metric_raised(error) from error
            return 0.0, f"the metric failed: {type(error).__name__}: {error}"


async def score_of(metric: Metric, example: dspy.Example, prediction: Any) -> float:
    """What the metric says, as a number. Raises InputError for what is none, and what the metric raises."""
    if inspect.iscoroutinefunction(metric) or inspect.iscoroutinefunction(getattr(metric, "__call__", None)):  # noqa: B004
        found = await metric(example, prediction)
    else:  # in a thread: it may compute, ask another model or wait
        found = await anyio.to_thread.run_sync(metric, example, prediction)
        found = await found if inspect.isawaitable(found) else found
    if not hasattr(found, "__float__"):
        raise InputError(
            f"the metric gave {found!r}", why="a metric says how good a prediction is", fix="return a bool or a number"
        )
    return float(found)


def metric_raised(error: Exception) -> InputError:
    """The error for a metric that cannot judge what the program gives."""
    return InputError(
        f"the metric raised {type(error).__name__}: {error}",
        why="it was given an example and a prediction of this program",
        fix="let metric(example, prediction) return a bool or a number for every prediction",
    )


def labels_of(example: dspy.Example) -> Mapping[str, Any]:
    """What an example holds beside its inputs."""
    found: Mapping[str, Any] = example.labels().toDict()
    return found


def repeats(error: BaseException) -> bool:
    """Whether every further call would end in the same error: it or what caused it is one of `_REPEATING`."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, _REPEATING):
            return True
        if isinstance(seen, BaseExceptionGroup) and any(map(repeats, seen.exceptions)):
            return True
        seen = seen.__cause__
    return False
