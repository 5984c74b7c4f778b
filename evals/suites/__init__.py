"""Suites: several programs on several tasks in one table, `reasonflow eval --suite NAME`. One file each."""

from __future__ import annotations

from importlib import import_module

from reasonflow.errors import UnknownName
from reasonflow.evals.suites.suite import Suite

SUITES = (
    "embedded", "search", "search-questions", "speculation", "speculation-prompted", "threads", "threads-prompted",
)  # fmt: skip
"""The suites the command line knows. Each is the `SUITE` of a module of its name, with `_` for `-`."""


def find(name: str) -> Suite:
    """The suite of this name. Raises UnknownName."""
    if name not in SUITES:
        raise UnknownName.among("suite", name, SUITES)
    found: Suite = import_module(f"{__name__}.{name.replace('-', '_')}").SUITE
    return found
