"""Gates as the last phase of a compile: each is calibrated on examples that nothing else was fitted to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import anyio.to_thread
import dspy

from reasonflow.errors import BudgetExceeded, InputError
from reasonflow.gates.gate import Calibration
from reasonflow.language.program import Program, trace
from reasonflow.optimizers.compile_data import check_varied
from reasonflow.optimizers.gate_samples import Labelled, gates_of, label
from reasonflow.optimizers.gates import calibrate, fewest, shut
from reasonflow.optimizers.phase import Workshop
from reasonflow.optimizers.trial_record import GATES
from reasonflow.plan.budget import Budget
from reasonflow.plan.serialise import digest
from reasonflow.runtime.ambient import surrounded
from reasonflow.runtime.ledger import Amount, Ledger
from reasonflow.runtime.measured import state_of


class GatesPhase:
    """See `Phase`. A change of prompt, model or width invalidates a calibration: it comes last."""

    name = "gates"

    def __init__(self, *, trusted: bool) -> None:
        """trusted: the metric was seen to tell answers apart."""
        self.trusted = trusted
        self._found: dict[str, Any] = {}

    async def run(self, program: Program, shop: Workshop, ledger: Ledger) -> Program:
        key = _key(program)
        calibrated: Program = program.deepcopy()
        known = shop.record.phase(self.name)
        if known is None or known["key"] != key:
            known = await self._calibrated(calibrated, shop, ledger, key)
            shop.record.put_phase(self.name, known)
        self._found = known
        for name, gate in gates_of(calibrated).items():
            gate.load_state(known["states"][name])
        return calibrated

    def report(self) -> Mapping[str, Any]:
        """What each gate was set to, on what, and what it promises."""
        return {"gates": self._found["report"]}

    async def _calibrated(self, program: Program, shop: Workshop, ledger: Ledger, key: str) -> dict[str, Any]:
        asked, found = shop.asked, await _labelled(program, shop, ledger, key)
        if not self.trusted:
            rights = [right for each in found for _, right in each.samples]
            check_varied(rights, f"{len(rights)} samples", "what a gate should let pass")
        report = []
        for each in found:
            told = _set(each, asked.alpha, asked.delta)
            report.append(told)
            asked.say(f"gate {each.name}: {told['said']}")
        states = {name: gate.dump_state() for name, gate in gates_of(program).items()}
        return {"key": key, "states": states, "report": report}


async def _labelled(program: Program, shop: Workshop, ledger: Ledger, key: str) -> list[Labelled]:
    """The samples; their calls are recorded, and those of a session that was killed are found again."""
    asked, record, price = shop.asked, shop.record, shop.price
    if record.phase("gates begun") == key:
        # Of this very run: it finds them all, and reserves for each as if it were to be made.
        ledger.give_back(record.made(price, "gates"))
    record.put_phase("gates begun", key)
    journal, own = record.journal(GATES, GATES), Ledger(Budget(), ledger)
    work = partial(
        label,
        program,
        shop.data.aside,
        asked.metric,
        lm=asked.lm,
        seed=asked.seed,
        concurrency=asked.concurrency,
    )
    cut = False
    try:
        with surrounded(ledger=own, journal=journal):
            return await anyio.to_thread.run_sync(work)
    except BudgetExceeded as error:
        cut = True
        raise BudgetExceeded(
            f"the gates could not be calibrated on {len(shop.data.aside)} examples",
            why=str(error),
            fix="raise the budget; with out= the same call goes on from here",
        ) from error
    finally:
        reused = journal.reused
        dollars = price.of(reused.inputs, reused.outputs)
        paid = own.spent - Amount(calls=reused.calls, total=reused.inputs + reused.outputs, dollars=dollars)
        (record.drop if cut else record.pay)(GATES, GATES, paid)
        ledger.give_back(ledger.spent - record.spent(price, "gates"))


def _set(each: Labelled, alpha: float, delta: float) -> dict[str, Any]:
    """Calibrate one gate, and what is to be told of it."""
    scored = sum(not math.isnan(score) for score, _ in each.samples)
    least = fewest(alpha, delta)
    if scored < least:
        found: Calibration = shut(each.gate, each.samples, model=each.model)
        said = f"{scored} scored samples, {least} needed: nothing passes"
    else:
        found = calibrate(each.gate, each.samples, alpha=alpha, delta=delta, model=each.model)
        said = _said(each, found.acceptance or 0.0, alpha, delta)
    return {
        "gate": each.name,
        "threshold": each.gate.threshold,
        "acceptance": found.acceptance,
        "samples": len(each.samples),
        "scored": scored,
        "right": sum(right for _, right in each.samples),
        "alpha": alpha,
        "delta": delta,
        "method": found.method,
        "model": found.model,
        "digest": found.digest,
        "said": said,
    }


def _said(each: Labelled, share: float, alpha: float, delta: float) -> str:
    """What a calibration has found. share: of the samples, that passes."""
    count, threshold = len(each.samples), each.gate.threshold
    if threshold is None:
        return f"no threshold keeps errors to {alpha:g} on {count} samples: nothing passes"
    promised = f"at most {alpha:g} of those are wrong, with confidence {1 - delta:g}"
    return f"threshold {threshold:.6g}, {share:.0%} pass, on {count} samples; {promised}"


def check_gates(program: Program) -> None:
    """Raises InputError for a program without any."""
    if not gates_of(program):
        raise InputError(
            f"{type(program).__name__} has no gates to calibrate",
            why="no rf.Gate is in it",
            fix='leave "gates" out of optimize',
        )


def _key(program: Program) -> str:
    """Of all that a gate's samples depend on, in the program."""
    with dspy.context(lm=None, adapter=None, trace=None):
        return f"{digest(trace(program).plan)} {state_of(program)}"
