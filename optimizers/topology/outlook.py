"""What a search over topologies will take, before it starts: settings, and calls of one whole evaluation of each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import dspy

from reasonflow.errors import InputError
from reasonflow.language.program import Program
from reasonflow.optimizers.topology.search import TopologySearch
from reasonflow.optimizers.topology.space import Space, current, space_of, with_settings
from reasonflow.plan.budget import Budget

_LOOKED_AT = 256
"""Settings whose costs the estimate looks at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What a search will take, before it starts."""

    settings: float
    """How many there are; infinite for a Range of fractions."""
    problems: int
    """That every setting is measured on, unless it is given up."""
    cheapest: int
    """Calls of one whole evaluation at most: of the setting that makes the fewest,"""
    typical: int
    """of the one in the middle,"""
    dearest: int
    """and of the one that makes the most."""
    tokens: float | None
    """Of one whole evaluation of the program as it is, at least; None where no tokenizer is known."""
    budget: Budget

    def __str__(self) -> str:
        count = f"{self.settings:,.0f}" if math.isfinite(self.settings) else "endlessly many"
        text = (
            f"{count} settings; one evaluation on {self.problems} problems takes {self.cheapest:,} to {self.dearest:,}"
        )
        text += f" calls, of the setting in the middle {self.typical:,}; the budget is {self.budget}"
        if self.budget.calls is not None:
            text += f", about {self.budget.calls / self.typical:.1f} such evaluations"
        return text


def look_ahead(program: Program, examples: Sequence[dspy.Example], budget: Budget) -> Outlook:
    """What searching it will take; nothing runs.

    Raises InputError for nothing to tune, and for a budget that is too small.
    """
    calls = sorted(each.explain().bound.calls for each in settings_of(program, space_of(program)))
    if not calls:
        raise InputError(
            f"{type(program).__name__} refuses every setting", fix="give options it can be run with, and see explain()"
        )
    count = len(examples)
    tokens = program.estimate([example.inputs().toDict() for example in examples]).total_tokens
    outlook = Outlook(
        settings=space_of(program).size,
        problems=count,
        cheapest=calls[0] * count,
        typical=calls[len(calls) // 2] * count,
        dearest=calls[-1] * count,
        tokens=None if tokens is None else tokens.low,
        budget=budget,
    )
    if budget.calls is not None and budget.calls < outlook.cheapest:
        raise InputError(
            f"one evaluation takes up to {outlook.cheapest:,} calls; the budget allows {budget.calls:,}",
            why=f"{count} examples × {calls[0]} calls of the cheapest setting",
            fix="raise it to several times that, or give fewer examples",
        )
    share = None if tokens is None else tokens.low * calls[0] / max(1, program.explain().bound.calls)
    if budget.total is not None and share is not None and budget.total < share:
        raise InputError(
            f"one evaluation takes about {share:,.0f} tokens at least; the budget allows {budget.total:,}",
            why=f"{count} examples, by the cheapest setting",
            fix="raise the budget to several times that, or give fewer examples",
        )
    return outlook


def settings_of(program: Program, space: Space) -> Iterator[Program]:
    """The program at the settings that it takes: at all, or at some of many, its own first."""
    search = TopologySearch(space)
    settings = list(space.all()) if space.size <= _LOOKED_AT else search.sample(_LOOKED_AT)
    for chosen in (current(program, space), *settings):
        try:
            made = with_settings(program, chosen)
            made.explain()
        except InputError:
            continue
        yield made
