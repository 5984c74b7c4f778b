"""`tune_prompts`: a program's instructions and demos by one of DSPy's optimizers, on a budget that is kept."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import dspy

from reasonflow.backends.dspy_lm_engines import runtime_behind
from reasonflow.errors import BudgetExceeded, InputError, RunError
from reasonflow.language.program import Program
from reasonflow.optimizers.compile_data import check_varied, examples_digest, varies
from reasonflow.optimizers.compile_identity import artifact_name, identity, model_identity
from reasonflow.optimizers.prompting.feedback import BranchFeedback
from reasonflow.optimizers.prompting.judging import Judge
from reasonflow.optimizers.prompting.optimizers import REFLECTING, UNMEASURED, By, Task, optimize
from reasonflow.optimizers.prompting.reflection import UNUSABLE, counted
from reasonflow.optimizers.prompting.refusals import check, divided
from reasonflow.optimizers.prompting.standings import PromptStep, Standings, line
from reasonflow.optimizers.prompting.stopped import Stopped
from reasonflow.optimizers.prompting.trials import PERFECT, Trials
from reasonflow.optimizers.surroundings import in_flight, quiet, to_stderr, wait_for
from reasonflow.optimizers.trial_record import recorded
from reasonflow.optimizers.trial_runs import Metric, metric_raised
from reasonflow.plan.budget import Budget
from reasonflow.runtime.ambient import ambient
from reasonflow.runtime.engines import price_behind
from reasonflow.runtime.ledger import Amount, Ledger
from reasonflow.runtime.price import FREE_OF_CHARGE, Price
from reasonflow.runtime.seeds import sample_seed

_MOST_THREADS = 128
"""Of DSPy, each of which waits for one run: more do not keep an engine busier."""
_MARGIN = 1.25
"""What is set aside to measure the result takes, over what the program took: demos make prompts longer."""
_PATIENCE = 12
"""Calls that GEPA's reflecting model is asked, up to three for an instruction, without one that is tried."""
_FIX = "name a reflection_lm that can write what it asks for, or another optimizer (by=...)"
_ENDLESS = 100_000


def tune_prompts(
    program: Program,
    trainset: Sequence[dspy.Example],
    metric: Metric,
    *,
    valset: Sequence[dspy.Example] | None = None,
    by: By | None = None,
    reflection_lm: dspy.BaseLM | None = None,
    budget: Budget,
    seed: int = 0,
    out: str | Path | None = None,
    lm: dspy.LM | None = None,
    concurrency: int | None = None,
    options: Mapping[str, Any] | None = None,
    on_step: Callable[[PromptStep], None] | None = None,
    show_progress: bool | None = None,
) -> Program:
    """A copy of the program with the instructions and demos that did best on the valset; its own where none did better.

    trainset: what the optimizer learns from. valset: what candidates are measured on; None: half of trainset.
    metric: as DSPy's, `metric(example, prediction)` with up to five arguments, sync or async, for a bool, a number or a
        prediction with `score` and `feedback`. GEPA is told beside it what the branches did (`rf.BranchFeedback`). What
        it asks of a model itself is not counted.
    by: "gepa" (None), "miprov2", "bootstrap" or "simba": DSPy's own classes. options: arguments of that class.
    reflection_lm: writes the instructions; None: the program's own model.
    budget: of all of it, the reflection model's calls and earlier sessions included: calls, total, seconds, dollars.
    out: a folder to record in. The same call goes on there after any end: finished calls are found and not made again.
    concurrency: runs in flight; None: as many as the engine takes.
    Raises InputError before anything is spent, as `rf.compile`, and where no model could reflect; BudgetExceeded where
    the program itself could not be measured; RunError where the optimizer fails before it has tried anything.
    """
    lm = lm or dspy.settings.lm
    by = by or "gepa"
    check(program, by, budget, lm, reflection_lm)
    train, val = divided(program, trainset, valset, seed)
    shown = sys.stderr.isatty() if show_progress is None else show_progress
    tuning = _Tuning(
        program=program,
        metric=metric if isinstance(metric, BranchFeedback) else BranchFeedback(metric),
        trainset=train,
        valset=val,
        by=by,
        reflection_lm=reflection_lm,
        budget=budget,
        seed=seed,
        folder=None if out is None else Path(out),
        lm=lm,
        threads=min(_MOST_THREADS, concurrency or in_flight(lm)),
        options=dict(options or {}),
        on_step=on_step,
        say=to_stderr if shown else lambda text: None,
    )
    return tuning.run()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tuning:
    program: Program
    metric: BranchFeedback
    trainset: Sequence[dspy.Example]
    valset: Sequence[dspy.Example]
    by: By
    reflection_lm: dspy.BaseLM | None
    budget: Budget
    seed: int
    folder: Path | None
    lm: dspy.LM
    threads: int
    options: Mapping[str, Any]
    on_step: Callable[[PromptStep], None] | None
    say: Callable[[str], None]

    def run(self) -> Program:
        with dspy.context(lm=self.lm):
            self.say(self._outlook())
        trusted = wait_for(lambda: varies(self.metric, [*self.valset, *self.trainset]))
        if self.folder is not None and not (self.folder / artifact_name(self.program)).exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            self.program.save(self.folder / artifact_name(self.program))  # what cannot be saved is to be found now
        seeded = self.lm.copy(seed=sample_seed(self.seed, "prompts", ()))
        with ExitStack() as stack:
            record = stack.enter_context(recorded(self.folder, self._about()))
            price, theirs = self._prices()
            runtime = runtime_behind(self.lm)
            if runtime is not None:  # its start is in no budget
                runtime.run(runtime.backend.start)
            ledger = Ledger(self.budget, ambient().ledger, remembers=True)
            ledger.began -= record.seconds()
            ledger.spent = record.spent(price)
            record.begin()
            stack.enter_context(dspy.context(lm=seeded, disable_history=True, trace=None))
            stack.enter_context(quiet())
            trials = Trials([*self.valset, *self.trainset], record, price, self._each(), ledger)
            standings = Standings(self.program, len(self.valset), trials, on_step=self._step, report=self.report)
            trials.on_score, trials.enough = standings.see, standings.perfect
            return self._tuned(trials, standings, Judge(self.metric, trials), seeded, theirs, trusted)

    def _tuned(
        self, trials: Trials, standings: Standings, judge: Judge, seeded: dspy.LM, theirs: Price, trusted: bool
    ) -> Program:
        took = self._base(trials, standings, judge, trusted)
        if standings.perfect():
            return self._kept(standings.program(PERFECT))
        task = Task(
            program=self.program,
            judge=judge,
            trainset=self.trainset,
            valset=self.valset,
            lm=seeded,
            reflection=counted(
                self.reflection_lm or self.lm,
                trials,
                theirs,
                self.seed,
                patience=_PATIENCE if self.by == "gepa" else None,
            ),
            seed=self.seed,
            threads=self.threads,
            runs=self._runs(took),
            options=self.options,
            perfect=standings.perfect,
            ahead=lambda examples: self._run(self.program, examples, judge),
        )
        found, stopped = self._optimized(task, trials, standings, took)
        if found is not None or self.by in UNMEASURED:
            best = found or standings.promising()
            if best is not None:
                try:
                    self._evaluate(best, judge, trials)
                except Stopped as end:
                    stopped = end.reason
        return self._kept(standings.program(stopped))

    def _kept(self, best: Program) -> Program:
        if self.folder is not None:
            best.save(self.folder / artifact_name(self.program))
        return best

    def _base(self, trials: Trials, standings: Standings, judge: Judge, trusted: bool) -> Amount:
        """Measure the program as it is; what that takes. Raises BudgetExceeded where it does not fit."""
        try:
            self._evaluate(self.program, judge, trials)
        except Stopped as end:
            raise BudgetExceeded(
                f"the program was not measured on all {len(self.valset)} examples of the valset",
                why=f"{end.reason}: {trials.ledger.spent.calls:,} calls, {trials.ledger.spent.total:,} tokens",
                fix="raise the budget; with out= the same call goes on from here",
            ) from None
        if judge.failed is not None:
            raise metric_raised(judge.failed) from judge.failed
        scores = standings.scores()
        if not trusted:
            check_varied(scores, f"{len(scores)} examples of the valset", "one prompt against another")
        return trials.taken

    def _optimized(self, task: Task, trials: Trials, standings: Standings, base: Amount) -> tuple[Program | None, str]:
        """What the optimizer gave, and why it ended. None where it was ended."""
        with trials.within(self._share(trials, base)):
            try:
                return optimize(self.by, task), "the optimizer came to its end"
            except Stopped as end:
                if end.reason == UNUSABLE and standings.count < 2:
                    raise RunError(f"{self.by} tried no prompts", why=UNUSABLE, fix=_FIX) from None
                return None, end.reason
            except Exception as error:  # DSPy's optimizers raise what their models' texts make of them
                why = f"{self.by} ended in {type(error).__name__}: {error}"
                if standings.count < 2:
                    raise RunError(why, why="it had tried no prompts yet", fix=_FIX) from error
                return None, why

    def _share(self, trials: Trials, base: Amount) -> Budget:
        """What the optimizer may take: what it gives has to be measured afterwards, where it does not do so itself."""
        if self.by not in UNMEASURED:
            return Budget()
        limits = {}
        for name in ("calls", "total", "dollars"):
            if trials.ledger.limits(name):
                left = trials.ledger.room(name) - _MARGIN * getattr(base, name)
                limits[name] = max(1e-9, left) if name == "dollars" else max(1, int(left))
        return Budget(**limits)

    def _evaluate(self, program: Program, judge: Judge, trials: Trials) -> None:
        """Run it on the whole valset."""
        with trials.within(Budget()):
            self._run(program, self.valset, judge)

    def _run(self, program: Program, examples: Sequence[dspy.Example], judge: Judge) -> None:
        """Run it on these side by side."""
        if examples:
            dspy.Evaluate(
                devset=list(examples), metric=judge, num_threads=self.threads, max_errors=10 * len(examples),
                display_progress=False, provide_traceback=False,
            )(program)  # fmt: skip

    def _runs(self, took: Amount) -> int:
        """Runs that the budget pays for, as long as those on the valset."""
        limits = self.budget.limits
        each = {name: getattr(took, name) / len(self.valset) for name in ("calls", "total", "dollars")}
        counts = [int(limits[name] / each[name]) for name in each if limits.get(name) and each[name]]
        return max(1, min(counts, default=_ENDLESS))

    def _each(self) -> Mapping[str, float]:
        with dspy.context(lm=self.lm):
            most = self.program.explain().bound
        return {"calls": most.calls} | ({} if most.total_tokens is None else {"total": most.total_tokens})

    def _outlook(self) -> str:
        """What it will take, in a line. Raises InputError for a budget that is too small."""
        count, calls = len(self.valset), self.program.explain().bound.calls
        if self.budget.calls is not None and self.budget.calls < count * calls:
            raise InputError(
                f"one evaluation takes up to {count * calls:,} calls; the budget allows {self.budget.calls:,}",
                why=f"{count} examples of the valset × {calls} calls of the program",
                fix="raise it to several times that, or give fewer examples",
            )
        tokens = self.program.estimate([example.inputs().toDict() for example in self.valset]).total_tokens
        if self.budget.total is not None and tokens is not None and self.budget.total < tokens.low:
            raise InputError(
                f"one evaluation takes {tokens.low:,.0f} tokens at least; the budget allows {self.budget.total:,}",
                why=f"{count} examples of the valset",
                fix="raise it to several times that, or give fewer examples",
            )
        text = f"prompts by {self.by}: {len(self.trainset)} examples to learn from, {count} to measure on, "
        text += f"up to {count * calls:,} calls each time; the budget is {self.budget}"
        if self.by in REFLECTING:
            own = self.reflection_lm is None
            text += f"; {(self.reflection_lm or self.lm).model} reflects" + (", the program's own model" if own else "")
        return text

    def _prices(self) -> tuple[Price, Price]:
        if self.budget.dollars is None:
            return FREE_OF_CHARGE, FREE_OF_CHARGE
        return price_behind(self.lm), price_behind(self.reflection_lm or self.lm)

    def _about(self) -> dict[str, Any]:
        """What must be equal for it to go on."""
        return {
            **identity(self.program, self.metric, self.lm),
            "optimize": ["prompts"],
            "by": self.by,
            "options": {name: str(value) for name, value in self.options.items()},
            "trainset": len(self.trainset),
            "valset": len(self.valset),
            "examples_digest": examples_digest([*self.valset, *self.trainset]),
            "seed": self.seed,
            "reflection": model_identity(self.reflection_lm or self.lm) if self.by in REFLECTING else None,
        }

    def _step(self, step: PromptStep, best: Program) -> None:
        self.say(line(step, len(self.valset)))
        if self.folder is not None:
            best.save(self.folder / artifact_name(self.program))
        if self.on_step is not None:
            self.on_step(step)

    def report(self, trials: Trials, chosen: int, rows: Sequence[Mapping[str, Any]], stopped: str) -> dict[str, Any]:
        """What was tried, spent and found, in JSON's types."""
        spent = trials.ledger.spent
        return {
            **self._about(),
            "budget": self.budget.limits,
            "spent": {**asdict(spent), "seconds": round(trials.record.seconds(), 3)},
            "stopped": stopped,
            "candidates": list(rows),
            "chosen": chosen,
            "most_in_flight": trials.most_in_flight,
            "artifact": artifact_name(self.program),
        }
