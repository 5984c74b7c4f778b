"""Suites: several programs on several tasks in one table, `reasonflow eval --suite NAME`. One file each."""

from __future__ import annotations

from importlib import import_module

from reasonflow.errors import UnknownName
from reasonflow.evals.suites.suite import Suite

SUITES = ("embedded",)
"""The suites the command line knows, by the module each is written in; it holds a `SUITE`."""


def find(name: str) -> Suite:
    """The suite of this name. Raises UnknownName."""
    if name not in SUITES:
        raise UnknownName.among("suite", name, SUITES)
    found: Suite = import_module(f"{__name__}.{name}").SUITE
    return found
