"""Topology as a phase of a compile: settings are searched, and the program is set to the best of the front."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from reasonflow.errors import BudgetExceeded
from reasonflow.language.program import Program
from reasonflow.optimizers.gate_samples import provisional
from reasonflow.optimizers.phase import Workshop
from reasonflow.optimizers.topology.search import TopologySearch
from reasonflow.optimizers.topology.space import current, space_of
from reasonflow.optimizers.topology.tuning import Step, Tuning, line
from reasonflow.optimizers.trial_runs import Runs
from reasonflow.runtime.ledger import Ledger


class TopologyPhase:
    """See `Phase`."""

    name = "topology"

    def __init__(self, *, trusted: bool, keep: Callable[[Program], None]) -> None:
        """trusted: the metric was seen to tell answers apart. keep: told the best program so far, now and then."""
        self.trusted, self.keep = trusted, keep
        self._tuning: Tuning | None = None
        self._stopped = "under way"
        self._chosen = -1

    async def run(self, program: Program, shop: Workshop, ledger: Ledger) -> Program:
        asked, space = shop.asked, space_of(program)
        runs = Runs(
            examples=shop.data.measured,
            metric=asked.metric,
            lm=asked.lm,
            seed=asked.seed,
            ledger=ledger,
            price=shop.price,
            record=shop.record,
            concurrency=asked.concurrency,
        )
        search = TopologySearch(space, seed=asked.seed, first=[current(program, space)])

        def on_step(step: Step) -> None:
            asked.say(line(step, len(runs.examples)))
            if step.state == "finished":
                self.keep(self._best(program, shop))
            if asked.on_step is not None:
                asked.on_step(step)

        tried = provisional(program) if "gates" in asked.optimize else program
        tuning = Tuning(tried, search, runs, trusted=self.trusted, on_step=on_step)
        self._tuning = tuning
        self._stopped = await tuning.run()
        asked.say(self._stopped)
        if not tuning.whole:
            raise BudgetExceeded(
                f"no setting was measured on all {len(runs.examples)} examples",
                why=f"{self._stopped}: {ledger.spent.calls:,} calls, {ledger.spent.total:,} tokens",
                fix="raise the budget; with out= the same call goes on from here",
            )
        return self._best(program, shop)

    def report(self) -> Mapping[str, Any]:
        """The trials, the front, and which of its points the program is set to."""
        assert self._tuning is not None, "reported before it ran"
        tuning, record = self._tuning, self._tuning.runs.record
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
        front = tuning.front().to_json()
        return {"stopped": self._stopped, "trials": tried, "front": front, "chosen": self._chosen}

    def _best(self, program: Program, shop: Workshop) -> Program:
        assert self._tuning is not None, "nothing was tried yet"
        best = self._tuning.front().best(shop.asked.objective)
        self._chosen = best.trial
        return best.of(program)
