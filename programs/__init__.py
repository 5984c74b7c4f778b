"""The reasoning programs, each a page written in the language."""

from __future__ import annotations

from importlib import import_module

from reasonflow.errors import UnknownName
from reasonflow.language.program import Program

PROGRAMS = {
    "best_of_n": "BestOfN",
    "chain_of_thought": "ChainOfThought",
    "pdr": "PDR",
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
