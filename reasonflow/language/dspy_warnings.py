"""Warnings of what DSPy's tools cannot do with a program, given while it is traced."""

from __future__ import annotations

import itertools
import warnings
import weakref
from collections.abc import Iterator, Mapping

import dspy
from dspy.dsp.utils.settings import main_thread_config

from reasonflow.errors import EqualSignatures, UnheardAdapter

_WARNED: weakref.WeakSet[type] = weakref.WeakSet()
"""Programs are traced on every call: a class is warned of once."""


def warn_of_equal_signatures(program: dspy.Module, sites: Mapping[str, dspy.Predict]) -> None:
    """Warn once per class of the first two sites with equal signatures, while an optimizer collects traces.

    sites: those that the plan uses, by their names.
    GEPA takes the traces of every site with an equal signature for the traces of the one it reflects on.
    """
    # Where no context sets one, DSPy has the global trace, which no optimizer reads.
    watching = dspy.settings.trace is not None and dspy.settings.trace is not main_thread_config["trace"]
    if not watching or type(program) in _WARNED:
        return
    for one, other in equal_signatures(sites):
        _WARNED.add(type(program))
        warnings.warn(
            f"the call sites {one!r} and {other!r} of {type(program).__name__} have equal signatures: GEPA takes "
            f"their traces for one another's. Give one of them instructions of its own: "
            f'rf.Generate(signature.with_instructions("..."))',
            EqualSignatures,
            stacklevel=3,
        )
        return


def equal_signatures(sites: Mapping[str, dspy.Predict]) -> Iterator[tuple[str, str]]:
    """Pairs of call sites, by name, whose signatures are equal."""
    for (one, first), (other, second) in itertools.combinations(sites.items(), 2):
        if first.signature.equals(second.signature):
            yield one, other


def warn_of_unheard_adapter(program: dspy.Module, adapter: dspy.Adapter | None) -> None:
    """Warn where an adapter does something of its own around the call of a model, as dspy.Refine's does.

    Programs render with an adapter's parts and parse with it; they never call it.
    """
    owner = next((cls for cls in type(adapter).__mro__ if "__call__" in vars(cls)), type(adapter))
    if adapter is not None and not owner.__module__.startswith("dspy.adapters"):
        refining = " dspy.Refine's hints do not arrive, its new samples do." if "Refine" in owner.__qualname__ else ""
        warnings.warn(
            f"{type(program).__name__} does not hear the adapter {owner.__name__}, which changes the call of a model: "
            f"a program renders its prompts itself and calls no adapter.{refining} Override the adapter's format or "
            f"parse instead, or leave it out",
            UnheardAdapter,
            stacklevel=3,
        )
