"""A phase of a compile: a program goes in, a better one comes out, and what it took is on the record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from reasonflow.language.program import Program
from reasonflow.optimizers.compile_division import Division
from reasonflow.optimizers.compile_request import Request
from reasonflow.optimizers.trial_record import TrialRecord
from reasonflow.runtime.ledger import Ledger
from reasonflow.runtime.price import Price


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """What the phases of one compile share."""

    asked: Request
    data: Division
    record: TrialRecord
    price: Price


class Phase(Protocol):
    """One of them. It may be run again in a later session, and then repeats nothing that is on the record."""

    @property
    def name(self) -> str:
        """As `optimize` has it."""
        ...

    async def run(self, program: Program, shop: Workshop, ledger: Ledger) -> Program:
        """The program, made better. ledger: of this phase, with what earlier sessions spent on it.

        Raises BudgetExceeded where it does not last to a result, and what every further run would raise.
        """
        ...

    def report(self) -> Mapping[str, Any]:
        """What it did, in JSON's types; called after `run`."""
        ...
