"""Samples of a run that no budget has cut: what it did not ask would look like what has no answer."""

from __future__ import annotations

from typing import Any

from reasonflow.errors import BudgetExceeded


def check_uncut(prediction: Any) -> None:
    """Raises BudgetExceeded for a run that had no room for all it was to ask."""
    cut = cut_by_a_budget(prediction)
    if cut:
        raise cut_short(cut)


def cut_by_a_budget(prediction: Any) -> str:
    """How a budget has cut or squeezed a run; empty where none has."""
    run = prediction.run
    return str(run.cut) or ("it left less than the program asks for" if run.squeezed else "")


def cut_short(why: str) -> BudgetExceeded:
    """The error for samples that are not all there."""
    return BudgetExceeded(
        "the budget did not last for the samples that gates are calibrated on",
        why=why,
        fix="raise the budget, or give fewer examples",
    )
