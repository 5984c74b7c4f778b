"""`rf.compile`: a program made better on a budget, to a front of settings that can be believed."""

from __future__ import annotations

import importlib.metadata
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import dspy

from reasonflow.backends.dspy_lm_engines import runtime_behind
from reasonflow.errors import InputError
from reasonflow.language.program import Program
from reasonflow.optimizers.compile_data import examples_digest, varies
from reasonflow.optimizers.compile_division import Division, divided
from reasonflow.optimizers.compile_identity import artifact_name, identity, model_identity
from reasonflow.optimizers.compile_request import Request, check_request, phases_for
from reasonflow.optimizers.compile_shares import Shares
from reasonflow.optimizers.front import Objective
from reasonflow.optimizers.gate_samples import calls_each, provisional
from reasonflow.optimizers.gates_phase import GatesPhase, check_gates
from reasonflow.optimizers.phase import Phase, Workshop
from reasonflow.optimizers.prompting.optimizers import By
from reasonflow.optimizers.prompting.refusals import check as check_prompts
from reasonflow.optimizers.prompts_phase import PromptsPhase
from reasonflow.optimizers.surroundings import in_flight, wait_for
from reasonflow.optimizers.topology import racing
from reasonflow.optimizers.topology.outlook import look_ahead, settings_of
from reasonflow.optimizers.topology.phase import TopologyPhase
from reasonflow.optimizers.topology.space import space_of
from reasonflow.optimizers.trial_record import recorded
from reasonflow.optimizers.trial_runs import Metric
from reasonflow.plan.budget import Budget
from reasonflow.runtime.ambient import ambient
from reasonflow.runtime.engines import price_behind
from reasonflow.runtime.ledger import Ledger
from reasonflow.runtime.price import FREE_OF_CHARGE


def compile(
    program: Program,
    trainset: Sequence[dspy.Example],
    metric: Metric,
    *,
    valset: Sequence[dspy.Example] | None = None,
    testset: Sequence[dspy.Example] | None = None,
    budget: Budget,
    optimize: Sequence[str] = ("topology",),
    objective: Objective = "accuracy",
    alpha: float = 0.1,
    delta: float = 0.1,
    prompts_by: By | None = None,
    reflection_lm: dspy.BaseLM | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    lm: dspy.LM | None = None,
    concurrency: int | None = None,
    on_step: Callable[[Any], None] | None = None,
    show_progress: bool | None = None,
) -> Program:
    """A copy of the program, made better phase by phase: its prompts, then its topology, then its gates.

    Topology: every `rf.Choice` with several options and every `rf.Range` in it is searched, for accuracy against
    sequential and total tokens, and the copy is set to what `objective` likes best of the Pareto front. The copy has
    the `front`; `save` keeps it with prompts, settings, gates and a report of all that was tried.

    trainset: examples with their inputs named. valset: what prompts and settings are measured on; None: trainset, since
        choosing among settings learns no example by heart; with prompts, a half of it that they do not learn from.
        With gates, a third of all is kept aside from the start for them.
    testset: what the result is to be tested on afterwards. Nothing is done with it here but to see that no example of
        it stands in the others.
    metric: `metric(example, prediction)`, sync or async: a bool, a number, or a prediction with a `score`. What it asks
        of a model itself is not counted. For a gate an answer is right from a score of 1 on.
    budget: of all of it, earlier sessions included: calls, total, seconds, dollars. It is never exceeded; a call that
        another trial has made in just the same way is not made again. Each phase has a share, and passes on what it
        leaves.
    optimize: of "prompts", "topology", "gates", which come in this order; gates beside others are left out where the
        program has none. objective: "accuracy", or "sequential" or
        "total" for the fewest tokens among what is not told apart from the most accurate.
    alpha, delta: of what a gate lets pass, at most alpha is wrong, with confidence 1 - delta. See `gates.calibrate`.
    prompts_by, reflection_lm: of "prompts", one of DSPy's optimizers and who writes for it: see `tune_prompts`.
    seed: of the search and of every run. All trials meet an example with the same seed.
    out: a folder to record in. The same call goes on there where it stopped, however it was stopped: no trial is
        repeated and no finished call is made again. The best program so far is in it as an artifact.
    on_step: told after every block of examples, and after every prompt that was tried. show_progress: a line for it on
        stderr; None: where that is a terminal.
    Raises InputError before anything is spent: for nothing to tune, empty or equal examples, too few for the gates, a
    metric that raises or gives no number, a budget below one evaluation; after the first block for a metric that is
    constant. Raises BudgetExceeded where no setting could be measured whole, or gates could not be calibrated.
    """
    lm = lm or dspy.settings.lm
    check_request(program, optimize, objective, budget, lm)
    shown = sys.stderr.isatty() if show_progress is None else show_progress
    asked = Request(
        program=program,
        trainset=trainset,
        metric=metric,
        valset=valset,
        testset=testset,
        budget=budget,
        optimize=phases_for(program, optimize),
        objective=objective,
        alpha=alpha,
        delta=delta,
        prompts_by=prompts_by,
        reflection_lm=reflection_lm,
        seed=seed,
        folder=None if out is None else Path(out),
        lm=lm,
        concurrency=concurrency or in_flight(lm),
        on_step=on_step,
        shown=shown,
    )
    if "gates" in optimize and "gates" not in asked.optimize:
        asked.say(f"{type(program).__name__} has no gates: no examples are kept aside for them")
    compiled: Program = wait_for(_prepared(asked).run)
    return compiled


def _prepared(asked: Request) -> _Compile:
    """All that can be wrong is found here, and what it will take is told; nothing runs."""
    if "prompts" in asked.optimize:
        check_prompts(asked.program, asked.prompts_by or "gepa", asked.budget, asked.lm, asked.reflection_lm)
    if "gates" in asked.optimize:
        check_gates(asked.program)
    program, data = asked.program, divided(asked)
    with dspy.context(lm=asked.lm):
        shares = Shares(budget=asked.budget, phases=asked.optimize, gate_calls=_gate_calls(asked, data))
        lines = [str(data)] if asked.optimize != ("topology",) else []
        if len(asked.optimize) > 1:
            lines.append(f"of {asked.budget}: {shares}; what one leaves passes on to the next")
        if "topology" in asked.optimize:
            lines.append(str(look_ahead(program, data.measured, shares.promised("topology"))))
        if "gates" in asked.optimize and len(asked.optimize) > 1:
            provisional(program)
    for line in lines:
        asked.say(line)
    return _Compile(asked=asked, data=data, shares=shares)


def _gate_calls(asked: Request, data: Division) -> int:
    """Calls that calibrating the gates takes at most, whatever setting is chosen.

    Raises InputError for a budget below that.
    """
    if "gates" not in asked.optimize:
        return 0
    program, limit = asked.program, asked.budget.calls
    each = calls_each(program)
    if "topology" in asked.optimize:
        each = max(each, *map(calls_each, settings_of(program, space_of(program))))
    if limit is not None and limit < each * len(data.aside):
        raise InputError(
            f"calibrating the gates takes up to {each * len(data.aside):,} calls; the budget allows {limit:,}",
            why=f"{len(data.aside)} examples × {each} calls",
            fix="raise it, or give fewer examples",
        )
    return each * len(data.aside)


@dataclass(kw_only=True)
class _Compile:
    asked: Request
    data: Division
    shares: Shares
    ran: list[Phase] = field(default_factory=list)
    """Phases that have begun."""

    async def run(self) -> Program:
        asked = self.asked
        trusted = await varies(asked.metric, self.data.measured or self.data.aside)
        self._keep(asked.program)  # what cannot be saved is to be found now
        with dspy.context(lm=asked.lm), recorded(asked.folder, self._about()) as record:
            price = price_behind(asked.lm) if asked.budget.dollars is not None else FREE_OF_CHARGE
            runtime = runtime_behind(asked.lm)
            if runtime is not None:  # its start is in no budget
                await runtime.arun(runtime.backend.start)
            shop = Workshop(asked=asked, data=self.data, record=record, price=price)
            whole = Ledger(asked.budget, ambient().ledger)
            program = asked.program
            record.begin()
            for phase in self._phases(trusted, shop):
                whole.spent, whole.began = record.spent(price), time.perf_counter() - record.seconds()
                self.ran.append(phase)
                program = await phase.run(program, shop, self._ledger(phase, whole, shop))
            return self._reported(program, shop)

    def _phases(self, trusted: bool, shop: Workshop) -> list[Phase]:
        found: dict[str, Phase] = {
            "topology": TopologyPhase(trusted=trusted, keep=lambda best: self._keep(self._reported(best, shop))),
            "gates": GatesPhase(trusted=trusted),
            "prompts": PromptsPhase(),
        }
        return [found[name] for name in self.asked.optimize]

    def _ledger(self, phase: Phase, whole: Ledger, shop: Workshop) -> Ledger:
        """Of a phase: its share, what was left for it, and what it spent in earlier sessions."""
        spent = {name: shop.record.spent(shop.price, name) for name in self.asked.optimize}
        ledger = Ledger(self.shares.left(phase.name, spent), whole)
        ledger.spent, ledger.began = spent[phase.name], whole.began
        return ledger

    # The artifact ----------------------------------------------------------------------------------------------------

    def _keep(self, program: Program) -> None:
        """Write it into the folder; the program as it came only where there is none yet."""
        folder = self.asked.folder
        if folder is None:
            return
        file = folder / artifact_name(self.asked.program)
        if program is not self.asked.program or not file.exists():
            folder.mkdir(parents=True, exist_ok=True)
            program.save(file)

    def _reported(self, program: Program, shop: Workshop) -> Program:
        """With the report, written into the folder."""
        program.compile_report = self._report(shop)
        self._keep(program)
        return program

    def _report(self, shop: Workshop) -> Mapping[str, Any]:
        asked, record = self.asked, shop.record
        found = {phase.name: phase.report() for phase in self.ran}
        spent = {name: asdict(record.spent(shop.price, name)) for name in asked.optimize}
        alone = asked.optimize == ("prompts",)
        return {
            **(found.get("prompts", {}) if alone else {}),
            **self._about(),
            "data": self.data.to_json(),
            "used": self.data.used,
            "versions": {name: importlib.metadata.version(name) for name in ("reasonflow", "dspy")},
            "objective": asked.objective,
            "budget": asked.budget.limits,
            "shares": {name: self.shares.promised(name).limits for name in asked.optimize},
            "spent": {**asdict(record.spent(shop.price)), "seconds": round(record.seconds(), 3)},
            "spent_by": spent,
            **({"prompts": found["prompts"]} if "prompts" in found and not alone else {}),
            **found.get("topology", {}),
            **found.get("gates", {}),
            "artifact": artifact_name(self.asked.program),
        }

    def _about(self) -> dict[str, Any]:
        """What must be equal for a compile to go on."""
        asked, measured = self.asked, self.data.measured
        about = {
            **identity(asked.program, asked.metric, asked.lm),
            "optimize": list(asked.optimize),
            "examples": len(measured),
            "examples_digest": examples_digest(measured),
            "data": {name: told for name, told in self.data.to_json().items() if name != "test"},
            "seed": asked.seed,
        }
        if "prompts" in asked.optimize:
            reflecting = asked.reflection_lm
            about["prompts_by"] = asked.prompts_by
            about["reflection"] = None if reflecting is None else model_identity(reflecting)
        if "topology" in asked.optimize:
            about["space"] = space_of(asked.program).to_json()
            about["racing"] = {
                "alpha": racing.ALPHA,
                "margin": racing.MARGIN,
                "blocks": racing.blocks(len(measured)),
            }
        if "gates" in asked.optimize:
            about["alpha"], about["delta"] = asked.alpha, asked.delta
        return about
