"""A run that no budget has cut: what it did not ask would look like what has no answer."""

from __future__ import annotations

from typing import Any

from reasonflow.errors import BudgetExceeded


def check_uncut(prediction: Any) -> None:
    """Raises BudgetExceeded for samples of a run that had no room for all it was to ask."""
    run = prediction.run
    if run.cut or run.squeezed:
        raise BudgetExceeded(
            "the budget did not last for the samples that gates are calibrated on",
            why=run.cut or "it left fewer branches or shorter texts than the program asks for",
            fix="raise the budget, or give fewer examples",
        )
