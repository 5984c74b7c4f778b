"""One budget for all phases of a compile: what each is promised, and what it may take when it comes to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reasonflow.errors import BudgetExceeded
from reasonflow.optimizers.compile_request import PHASES
from reasonflow.plan.budget import Budget
from reasonflow.runtime.ledger import Amount

WEIGHTS = {"prompts": 5, "topology": 4, "gates": 1}
"""Shares of the budget, by phase; those of phases that do not run go to the others."""
_WHOLE = ("total", "calls")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """A budget and the phases that share it. What one leaves passes on to the next, the last may take all there is."""

    budget: Budget
    phases: tuple[str, ...]
    """In order."""
    gate_calls: int = 0
    """Calls that calibrating the gates takes at most. That many are theirs, whatever their share."""

    def promised(self, phase: str) -> Budget:
        """What a phase gets though all before it take all of theirs."""
        before = self._until(self.phases.index(phase))
        now = self._until(self.phases.index(phase) + 1)
        return _budget({name: limit - before.get(name, 0) for name, limit in now.items()})

    def left(self, phase: str, spent: Mapping[str, Amount]) -> Budget:
        """What a phase may spend in all sessions together. spent: by the phases before it.

        Its seconds are counted from the beginning of the whole compile. Raises BudgetExceeded where nothing is left.
        """
        place = self.phases.index(phase)
        earlier = [spent[name] for name in self.phases[:place] if name in spent]
        found = {
            name: limit if name == "seconds" else limit - sum(getattr(amount, name) for amount in earlier)
            for name, limit in self._until(place + 1).items()
        }
        gone = [name for name, amount in found.items() if amount <= 0]
        if gone:
            raise BudgetExceeded(
                f"nothing is left for the {phase}",
                why=f"what came before has spent the {gone[0]} of {self.budget}",
                fix="raise the budget; with out= the same call goes on from here",
            )
        return _budget(found)

    def _until(self, count: int) -> dict[str, float]:
        """Limits of what the first phases may spend together."""
        if count == len(self.phases):
            return self.budget.limits
        weights = {name: WEIGHTS[name] for name in PHASES if name in self.phases}
        part = sum(weights[name] for name in self.phases[:count]) / sum(weights.values())
        found = {name: limit * part for name, limit in self.budget.limits.items()}
        if "calls" in found and count:
            kept = self.gate_calls if "gates" in self.phases[count:] else 0
            found["calls"] = min(found["calls"], self.budget.limits["calls"] - kept)
        return found

    def __str__(self) -> str:
        return "; ".join(f"{phase}: {self.promised(phase)}" for phase in self.phases)


def _budget(limits: Mapping[str, float]) -> Budget:
    # A limit of nothing is no budget: the smallest one stands for it.
    found: dict[str, Any] = {
        name: max(1, int(limit)) if name in _WHOLE else max(1e-9, limit) for name, limit in limits.items()
    }
    return Budget(**found)
