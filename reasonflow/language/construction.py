"""How a program was made: the arguments of its constructor, so that an artifact can make it again."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import dspy

from reasonflow.errors import InputError
from reasonflow.language.typed_json import Json, describe, path_of, refuse_secret


@dataclass(frozen=True)
class Construction:
    """A constructor's arguments, defaults filled in, as they were when it was called.

    Described at once and not kept: the copies and pickles of a program hold no more than texts and numbers of it, and
    what the caller does to an argument later changes nothing. A dataclass and no dict: DSPy looks for predictors in
    the dicts of a module.
    """

    path: str
    """The class that was called."""
    arguments: Mapping[str, Json] = field(default_factory=dict)
    refused: Mapping[str, InputError] = field(default_factory=dict)
    """What has no JSON form, which only matters when the program is saved."""

    def described(self) -> dict[str, Json]:
        """Class path and arguments. Raises InputError that names the argument which cannot be saved."""
        for error in self.refused.values():
            raise error.anew()
        return {"class": self.path, "arguments": dict(self.arguments)}


def construction(cls: type, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Construction | None:
    """The record of `cls(*args, **kwargs)`; None where the constructor refuses the call, as copying makes it."""
    if cls.__init__ is dspy.Module.__init__:  # type: ignore[misc]  # only compared
        return Construction(path_of(cls))
    try:
        bound = _signature(cls.__init__).bind(None, *args, **kwargs)  # type: ignore[misc]  # only read
    except TypeError:
        return None  # the constructor is called next with the same arguments and says it better
    bound.apply_defaults()
    arguments: dict[str, Json] = {}
    refused: dict[str, InputError] = {}
    for name, value in list(bound.arguments.items())[1:]:
        where = f"argument {name!r} of {cls.__name__}"
        try:
            refuse_secret(name, value, where)
            arguments[name] = describe(value, where)
        except InputError as error:
            refused[name] = error
        except RecursionError:
            refused[name] = InputError(f"{where} cannot be saved: it contains itself", fix="pass a plain value")
    return Construction(path_of(cls), arguments, refused)


@lru_cache(maxsize=256)  # reading it takes longer than all the rest
def _signature(init: Any) -> inspect.Signature:
    return inspect.signature(init)
