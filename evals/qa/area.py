"""Areas under the curve of F1 over what may be spent: turns (AUC-AT), search calls (AUC-AC), tokens (AUC-AL).

A run is credited with its score at each budget that it kept to, and with 0 below; the area is the mean over the
budgets. The area of a set of runs is the mean of theirs, so that intervals come as of any other mean.
Source: HybridDeepSearcher, arXiv 2508.19113, and `infer/eval.py` of its repository.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias, assert_never

from reasonflow.errors import InputError

AreaForm: TypeAlias = Literal["paper", "code"]

TURNS = 10
"""The largest budget of AUC-AT; its smallest is 1."""
CALLS = tuple(range(2, 17))
TOKENS = tuple(range(300, 1501, 300))
TOKEN_SCALE = 500
"""Their factor of AUC-AL, arbitrary: its figures compare with themselves only."""


def auc_at(score: float, turns: int, *, cap: int = TURNS, form: AreaForm = "code") -> float:
    """Over turns, 1 to `cap`, in the unit of the score. A turn is an output of the model, the last one too.

    Raises InputError for turns below 0 and a cap below 1.
    """
    return area(score, turns, range(1, cap + 1), form=form)


def auc_ac(score: float, calls: int, *, form: AreaForm = "code") -> float:
    """Over search calls, 2 to 16, in the unit of the score. Raises InputError for calls below 0."""
    return area(score, calls, CALLS, form=form)


def auc_al(score: float, tokens: int, *, form: AreaForm = "code") -> float:
    """Over generated tokens, 300 to 1,500, in 500 times the unit of the score. Raises InputError for tokens below 0."""
    return TOKEN_SCALE * area(score, tokens, TOKENS, form=form)


def area(score: float, used: int, budgets: Sequence[int], *, form: AreaForm = "code") -> float:
    """The mean over budgets of the score where `used` keeps to the budget, else 0.

    budgets: rising. form: the paper credits a budget that holds what was used; its code first moves what was used to
    the budget below it, and to the last one where it is beyond: 599 tokens keep to 300, twelve turns to ten.
    Raises InputError for `used` below 0 and without budgets.
    """
    if used < 0 or not budgets:
        raise InputError(
            f"{used} used, of {len(budgets)} budgets", why="an area is over what was spent", fix="give 0 or more"
        )
    match form:
        case "paper":
            reached = used
        case "code":
            reached = max((budget for budget in budgets if budget <= used), default=0)
        case _:
            assert_never(form)
    return score * sum(budget >= reached for budget in budgets) / len(budgets)
