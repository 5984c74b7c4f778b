"""The reasoning programs, each a page written in the language."""

from __future__ import annotations

import inspect
from importlib import import_module

from reasonflow.errors import UnknownName
from reasonflow.language.program import Program

PROGRAMS = {
    "best_of_n": "BestOfN",
    "chain_of_thought": "ChainOfThought",
    "confident_vote": "ConfidentVote",
    "hybrid_search": "HybridSearch",
    "pdr": "PDR",
    "planned_search": "PlannedSearch",
    "rsa": "RSA",
    "self_consistency": "SelfConsistency",
    "sequential_refine": "SequentialRefine",
    "threads": "ThreadWeaver",
}
"""The programs the command line knows, by the module each is written in."""


def find(name: str) -> type[Program]:
    """The program of this name. Raises UnknownName."""
    if name not in PROGRAMS:
        raise UnknownName.among("program", name, PROGRAMS)
    found: type[Program] = getattr(import_module(f"{__name__}.{name}"), PROGRAMS[name])
    return found


def searches(program_class: type) -> bool:
    """Whether a program takes a retriever."""
    return "retriever" in inspect.signature(program_class.__init__).parameters  # type: ignore[misc]  # only looked at
