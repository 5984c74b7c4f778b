"""Knobs of programs: options of a constructor that are one value, or an `rf.Choice` or `rf.Range` to search."""

from __future__ import annotations

from typing import Any, TypeAlias

import reasonflow as rf
from reasonflow.errors import InputError, UnknownName
from reasonflow.language.site_defaults import options_of
from reasonflow.prompts.layouts import Order

TEMPERATURES = (None, 0.3, 0.6, 1.0)
"""What `searched` programs choose among: the model's own, and three that lie clearly apart. A few fixed ones and no
Range, since trials of equal temperature share their samples."""

Temperature: TypeAlias = float | rf.Choice | None
Layout: TypeAlias = Order | rf.Choice


def check_whole(name: str, value: Any, why: str) -> None:
    """Raise InputError where it, or an option of it, is no whole number from 1 up."""
    for option in options_of(value):
        if isinstance(option, bool) or not isinstance(option, int) or option < 1:
            raise InputError(f"{name}={option!r} {why}", fix="give a whole number from 1 up")


def check_known(name: str, value: Any, known: tuple[str, ...]) -> None:
    """Raise UnknownName where it, or an option of it, is none of these."""
    for option in options_of(value):
        if option not in known:
            raise UnknownName.among(name, str(option), known)
