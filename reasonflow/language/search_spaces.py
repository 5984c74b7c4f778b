"""The options of a program's constructor that a search may choose, opened."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from typing import Any

from reasonflow.errors import UnknownName
from reasonflow.language.choices import Choice


def opened_options(
    program_class: Any, given: Mapping[str, Any], search: Collection[str] | None = None
) -> dict[str, Any]:
    """The options of a constructor, each of its search space as a Choice: open, or closed with its one value.

    given: values that the search begins with; a Choice among them stays as it is. search: the options to open; None:
    all. Raises UnknownName for one that is neither in the space nor given as a Choice.
    """
    space = program_class.search_space
    for name in search or ():
        if name not in space and not isinstance(given.get(name), Choice):
            raise UnknownName.among(f"option to search of {program_class.__name__}", name, space)
    parameters = inspect.signature(program_class.__init__).parameters
    found = dict(given)
    for name, values in space.items():
        value = given.get(name, parameters[name].default)
        if not isinstance(value, Choice):
            is_searched = search is None or name in search
            found[name] = Choice(value, options=tuple(values), only=False) if is_searched else Choice(value)
    return found
