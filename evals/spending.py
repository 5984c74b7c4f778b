"""What all runs of an evaluation may spend together, and what its samples have spent of it."""

from __future__ import annotations

from reasonflow.errors import InputError
from reasonflow.evals.samples import Sample
from reasonflow.plan.budget import Budget
from reasonflow.runtime.ledger import Amount
from reasonflow.runtime.price import Price


def check_overall(budget: Budget) -> None:
    """Raise InputError for what cannot be shared."""
    if budget.sequential is not None:
        raise InputError(
            "the overall budget limits sequential tokens",
            why="they are counted along the longest path of each run, and add up to nothing",
            fix=f"limit each run instead: budget sequential={budget.sequential}",
        )


def spent(sample: Sample, price: Price) -> Amount:
    """By one run, as its sample says."""
    inputs, outputs = sample.input_tokens or 0, sample.output_tokens or 0
    return Amount(total=sample.total_tokens or 0, calls=sample.calls or 0, dollars=price.of(inputs, outputs))
