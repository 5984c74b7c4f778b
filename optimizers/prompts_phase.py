"""Prompts as a phase of a compile: `tune_prompts` with its share of the budget, once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import anyio.to_thread
import dspy

from reasonflow.language.program import Program, predictors_of
from reasonflow.optimizers.gate_samples import provisional
from reasonflow.optimizers.phase import Workshop
from reasonflow.optimizers.prompting.tuning import tune_prompts
from reasonflow.optimizers.trial_record import PROMPTS
from reasonflow.runtime.ledger import Amount, Ledger


class PromptsPhase:
    """See `Phase`. What it has ended with is on the record: later sessions, of a larger budget too, begin behind it."""

    name = "prompts"

    def __init__(self) -> None:
        self._found: dict[str, Any] = {}

    async def run(self, program: Program, shop: Workshop, ledger: Ledger) -> Program:
        self._found = shop.record.phase(self.name) or await anyio.to_thread.run_sync(self._tuned, program, shop, ledger)
        return with_prompts(program, self._found["state"])

    def report(self) -> Mapping[str, Any]:
        """What `tune_prompts` has said of itself."""
        found: Mapping[str, Any] = self._found["report"]
        return found

    def _tuned(self, program: Program, shop: Workshop, ledger: Ledger) -> dict[str, Any]:
        asked, data = shop.asked, shop.data
        tuned = tune_prompts(
            provisional(program) if "gates" in asked.optimize else program,
            list(data.learn),
            asked.metric,
            valset=list(data.measured),
            by=asked.prompts_by,
            reflection_lm=asked.reflection_lm,
            budget=ledger.budget,
            seed=asked.seed,
            out=None if asked.folder is None else asked.folder / self.name,
            lm=asked.lm,
            concurrency=asked.concurrency,
            on_step=asked.on_step,
            show_progress=asked.shown,
        )
        report = json.loads(json.dumps(dict(tuned.compile_report or {}), default=str))
        found = {"state": prompts_of(tuned), "report": report}
        spent = report["spent"]
        amount = Amount(**{name: spent[name] for name in ("total", "calls", "dollars") if name in spent})
        shop.record.took(spent.get("seconds", 0.0))
        shop.record.pay(PROMPTS, PROMPTS, amount)
        shop.record.put_phase(self.name, found)
        return found


def prompts_of(program: Program) -> dict[str, Any]:
    """Instructions, texts of fields and demos of each call site, in JSON's types."""
    return {name: {**site.dump_state(), "lm": None} for name, site in predictors_of(program)}


def with_prompts(program: Program, state: Mapping[str, Any]) -> Program:
    """A copy of the program with the prompts of `prompts_of`, on its own models."""
    copied: Program = program.deepcopy()
    for name, site in predictors_of(copied):
        own: dspy.LM | None = site.lm
        site.load_state(state[name])
        site.lm = own
    return copied
