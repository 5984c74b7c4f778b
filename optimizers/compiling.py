"""`rf.compile`: a program made better on a budget, to a front of settings that can be believed."""

from __future__ import annotations

import asyncio
import math
import random
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import anyio
import dspy
from anyio.from_thread import start_blocking_portal

from reasonflow.backends.dspy_lm_engines import runtime_behind
from reasonflow.errors import BudgetExceeded, InputError, UnknownName
from reasonflow.language.program import Program, trace
from reasonflow.optimizers.compile_data import check_apart, check_examples, examples_digest, name_of, varies
from reasonflow.optimizers.front import Front, Objective
from reasonflow.optimizers.prompting.optimizers import By
from reasonflow.optimizers.prompting.tuning import tune_prompts
from reasonflow.optimizers.topology import racing
from reasonflow.optimizers.topology.search import TopologySearch
from reasonflow.optimizers.topology.space import Space, current, space_of, with_settings
from reasonflow.optimizers.topology.tuning import Step, Tuning, line
from reasonflow.optimizers.trial_record import recorded
from reasonflow.optimizers.trial_runs import Metric, Runs
from reasonflow.plan.budget import Budget
from reasonflow.plan.serialise import digest
from reasonflow.runtime.ambient import ambient
from reasonflow.runtime.engines import price_behind
from reasonflow.runtime.ledger import Ledger
from reasonflow.runtime.measured import state_of
from reasonflow.runtime.price import FREE_OF_CHARGE

LATER = ("prompts", "gates")
"""Of `optimize`, what is not there yet."""
_CONCURRENCY = 16
"""Runs in flight on a language model that does not say how much it can run at once."""
_LOOKED_AT = 256
"""Settings whose costs the estimate looks at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What a compile will take, before it starts."""

    settings: float
    """How many there are; infinite for a Range of fractions."""
    problems: int
    """That every setting is measured on, unless it is given up."""
    cheapest: int
    """Calls of one whole evaluation at most: of the setting that makes the fewest,"""
    typical: int
    """of the one in the middle,"""
    dearest: int
    """and of the one that makes the most."""
    tokens: float | None
    """Of one whole evaluation of the program as it is, at least; None where no tokenizer is known."""
    budget: Budget

    def __str__(self) -> str:
        count = f"{self.settings:,.0f}" if math.isfinite(self.settings) else "endlessly many"
        text = (
            f"{count} settings; one evaluation on {self.problems} problems takes {self.cheapest:,} to {self.dearest:,}"
        )
        text += f" calls, of the setting in the middle {self.typical:,}; the budget is {self.budget}"
        if self.budget.calls is not None:
            text += f", about {self.budget.calls / self.typical:.1f} such evaluations"
        return text


def compile(
    program: Program,
    trainset: Sequence[dspy.Example],
    metric: Metric,
    *,
    valset: Sequence[dspy.Example] | None = None,
    budget: Budget,
    optimize: Sequence[str] = ("topology",),
    objective: Objective = "accuracy",
    seed: int = 0,
    out: str | Path | None = None,
    lm: dspy.LM | None = None,
    concurrency: int | None = None,
    on_step: Callable[[Any], None] | None = None,
    show_progress: bool | None = None,
    prompts_by: By | None = None,
    reflection_lm: dspy.BaseLM | None = None,
) -> Program:
    """A copy of the program, set to what `objective` likes best of the Pareto front that a search has found.

    Every `rf.Choice` with several options and every `rf.Range` in it is searched, for accuracy against sequential and
    total tokens. The copy has the `front`; `save` keeps it with the settings and a report of the search.

    trainset: examples with their inputs named. valset: what settings are measured on; None: trainset, since choosing
        among settings learns no example by heart.
    metric: `metric(example, prediction)`, sync or async: a bool, a number, or a prediction with a `score`. What it asks
        of a model itself is not counted.
    budget: of all of it, earlier sessions included: calls, total, seconds, dollars. It is never exceeded; a call that
        another trial has made in just the same way is not made again.
    optimize: "topology", or "prompts" alone: instructions and demos by `prompts_by`, one of DSPy's optimizers, with
        `reflection_lm` writing (`optimizers.prompting.tuning`). objective: "accuracy", or "sequential" or "total" for
        the fewest tokens among what is not told apart from the most accurate.
    seed: of the search and of every run. All trials meet an example with the same seed.
    out: a folder to record in. The same call goes on there where it stopped, however it was stopped: no trial is
        repeated and no finished call is made again. The best program so far is in it as an artifact.
    on_step: told after every block of examples. show_progress: a line for it on stderr; None: where that is a terminal.
    Raises InputError before anything is spent: for nothing to tune, empty or equal examples, a metric that raises or
    gives no number, a budget below one evaluation; after the first block for a metric that is constant. Raises
    BudgetExceeded where no setting could be measured whole.
    """
    lm = lm or dspy.settings.lm
    if tuple(optimize) == ("prompts",):
        return tune_prompts(
            program, trainset, metric, valset=valset, by=prompts_by, reflection_lm=reflection_lm, budget=budget,
            seed=seed, out=out, lm=lm, concurrency=concurrency, on_step=on_step, show_progress=show_progress,
        )  # fmt: skip
    _check(program, optimize, objective, budget, lm)
    check_examples(program, trainset, "trainset")
    if valset is not None:
        check_examples(program, valset, "valset")
        check_apart(trainset, valset)
    examples = list(trainset if valset is None else valset)
    random.Random(seed).shuffle(examples)  # the first block decides: it must be like the rest
    with dspy.context(lm=lm):
        outlook = look_ahead(program, examples, budget)
    shown = sys.stderr.isatty() if show_progress is None else show_progress
    compiling = _Compile(
        program=program,
        metric=metric,
        examples=examples,
        budget=budget,
        objective=objective,
        seed=seed,
        folder=None if out is None else Path(out),
        lm=lm,
        concurrency=concurrency or _in_flight(lm),
        on_step=on_step,
        say=_to_stderr if shown else None,
        optimize=tuple(optimize),
    )
    compiling.tell(str(outlook))
    compiled: Program = _wait_for(compiling.run)
    return compiled


def look_ahead(program: Program, examples: Sequence[dspy.Example], budget: Budget) -> Outlook:
    """What compiling it will take; nothing runs.

    Raises InputError for nothing to tune, and for a budget that is too small.
    """
    space = space_of(program)
    calls = sorted(_calls(program, space))
    if not calls:
        raise InputError(
            f"{type(program).__name__} refuses every setting", fix="give options it can be run with, and see explain()"
        )
    count = len(examples)
    tokens = program.estimate([example.inputs().toDict() for example in examples]).total_tokens
    outlook = Outlook(
        settings=space.size,
        problems=count,
        cheapest=calls[0] * count,
        typical=calls[len(calls) // 2] * count,
        dearest=calls[-1] * count,
        tokens=None if tokens is None else tokens.low,
        budget=budget,
    )
    if budget.calls is not None and budget.calls < outlook.cheapest:
        raise InputError(
            f"one evaluation takes up to {outlook.cheapest:,} calls; the budget allows {budget.calls:,}",
            why=f"{count} examples × {calls[0]} calls of the cheapest setting",
            fix="raise it to several times that, or give fewer examples",
        )
    share = None if tokens is None else tokens.low * calls[0] / max(1, program.explain().bound.calls)
    if budget.total is not None and share is not None and budget.total < share:
        raise InputError(
            f"one evaluation takes about {share:,.0f} tokens at least; the budget allows {budget.total:,}",
            why=f"{count} examples, by the cheapest setting",
            fix="raise the budget to several times that, or give fewer examples",
        )
    return outlook


def _calls(program: Program, space: Space) -> list[int]:
    """Calls of one run at most, of the settings that the program takes: all, or some of many."""
    search = TopologySearch(space)
    found = []
    settings = list(space.all()) if space.size <= _LOOKED_AT else search.sample(_LOOKED_AT)
    for chosen in (current(program, space), *settings):
        try:
            found.append(with_settings(program, chosen).explain().bound.calls)
        except InputError:
            continue
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Compile:
    program: Program
    metric: Metric
    examples: Sequence[dspy.Example]
    budget: Budget
    objective: Objective
    seed: int
    folder: Path | None
    lm: dspy.LM
    concurrency: int
    on_step: Callable[[Step], None] | None
    say: Callable[[str], None] | None
    optimize: tuple[str, ...]

    def tell(self, text: str) -> None:
        """A line for people, where there are any."""
        if self.say is not None:
            self.say(text)

    async def run(self) -> Program:
        trusted = await varies(self.metric, self.examples)
        if self.folder is not None and not (self.folder / self.artifact).exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            self.program.save(self.folder / self.artifact)  # what cannot be saved is to be found now
        with dspy.context(lm=self.lm), recorded(self.folder, self._about()) as record:
            price = price_behind(self.lm) if self.budget.dollars is not None else FREE_OF_CHARGE
            runtime = runtime_behind(self.lm)
            if runtime is not None:  # its start is in no budget
                await runtime.arun(runtime.backend.start)
            ledger = Ledger(self.budget, ambient().ledger)
            ledger.began -= record.seconds()
            ledger.spent = record.spent(price)
            runs = Runs(
                examples=self.examples,
                metric=self.metric,
                lm=self.lm,
                seed=self.seed,
                ledger=ledger,
                price=price,
                record=record,
                concurrency=self.concurrency,
            )
            space = space_of(self.program)
            search = TopologySearch(space, seed=self.seed, first=[current(self.program, space)])
            record.begin()

            def on_step(step: Step) -> None:
                self.tell(line(step, len(self.examples)))
                if step.state == "finished":
                    self._compiled(tuning, "under way")
                if self.on_step is not None:
                    self.on_step(step)

            tuning = Tuning(self.program, search, runs, trusted=trusted, on_step=on_step)
            stopped = await tuning.run()
            self.tell(stopped)
            if not tuning.whole:
                raise BudgetExceeded(
                    f"no setting was measured on all {len(self.examples)} examples",
                    why=f"{stopped}: {ledger.spent.calls:,} calls, {ledger.spent.total:,} tokens",
                    fix="raise the budget; with out= the same call goes on from here",
                )
            return self._compiled(tuning, stopped)

    @property
    def artifact(self) -> str:
        """`pdr.json` for PDR, `best_of_n.json` for BestOfN."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(self.program).__name__).lower() + ".json"

    def _compiled(self, tuning: Tuning, stopped: str) -> Program:
        """The program set to the best so far, with its report; written into the folder."""
        front = tuning.front()
        chosen = front.best(self.objective)
        compiled = chosen.of(self.program)
        compiled.compile_report = self._report(tuning, front, chosen.trial, stopped)
        if self.folder is not None:
            compiled.save(self.folder / self.artifact)
        return compiled

    def _report(self, tuning: Tuning, front: Front, chosen: int, stopped: str) -> Mapping[str, Any]:
        spent, record = tuning.runs.ledger.spent, tuning.runs.record
        tried = [
            {
                "number": number,
                "settings": dict(told.trial.settings),
                "state": state,
                "reason": reason,
                "examples": len(record.results(number)),
                "values": None if told.values is None else asdict(told.values),
            }
            for told, (number, _, state, reason) in zip(tuning.history, record.trials(), strict=False)
        ]
        return {
            **self._about(),
            "objective": self.objective,
            "budget": self.budget.limits,
            "spent": {**asdict(spent), "seconds": round(record.seconds(), 3)},
            "stopped": stopped,
            "trials": tried,
            "front": front.to_json(),
            "chosen": chosen,
            "artifact": self.artifact,
        }

    def _about(self) -> dict[str, Any]:
        """What must be equal for a compile to go on."""
        with dspy.context(lm=None, adapter=None, trace=None):
            plan = digest(trace(self.program).plan)
        runtime = runtime_behind(self.lm)
        kind = type(self.program)
        return {
            "program": f"{kind.__module__}.{kind.__qualname__}",
            "plan": plan,
            "state": state_of(self.program),
            "space": space_of(self.program).to_json(),
            "optimize": list(self.optimize),
            "metric": name_of(self.metric),
            "examples": len(self.examples),
            "examples_digest": examples_digest(self.examples),
            "seed": self.seed,
            "racing": {"alpha": racing.ALPHA, "margin": racing.MARGIN, "blocks": racing.blocks(len(self.examples))},
            "model": {"name": self.lm.model} if runtime is None else dict(runtime.identity),
            "sampling": {name: value for name, value in self.lm.kwargs.items() if name not in ("seed", "api_key")},
        }


def _check(program: Any, optimize: Sequence[str], objective: str, budget: Any, lm: Any) -> None:
    if not isinstance(program, Program):
        raise InputError(f"{type(program).__name__} cannot be compiled", fix="pass a reasonflow.Program")
    if isinstance(optimize, str) or not optimize:
        raise InputError(f"optimize={optimize!r} names no part of a program", fix='optimize=("topology",)')
    for name in optimize:
        if name in LATER:
            raise InputError(
                f"{name} cannot be optimized by rf.compile yet",
                why="it searches topology, or tunes prompts and nothing else",
                fix='optimize=("topology",)',
            )
        if name != "topology":
            raise UnknownName.among("part to optimize", name, ("topology", *LATER))
    if objective not in get_args(Objective):
        raise UnknownName.among("objective", objective, get_args(Objective))
    if not isinstance(budget, Budget) or not budget.limits:
        raise InputError("a compile needs a budget", why="a search ends when it is spent", fix="rf.Budget(calls=2_000)")
    if budget.sequential is not None:
        raise InputError(
            "the budget of a compile limits sequential tokens",
            why="they are counted along the longest path of each run, and add up to nothing",
            fix="limit calls, total, seconds or dollars, and choose by front.pick(sequential=...)",
        )
    if lm is None:
        raise InputError("there is no language model to compile with", fix="pass lm=rf.vllm(...), or dspy.configure it")


def _in_flight(lm: dspy.LM) -> int:
    runtime = runtime_behind(lm)
    return _CONCURRENCY if runtime is None else max(1, runtime.backend.max_running)


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _wait_for(work: Callable[[], Any]) -> Any:
    """The result of a coroutine function, also where a loop is running, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return anyio.run(work)
    with start_blocking_portal() as portal:
        return portal.call(work)
