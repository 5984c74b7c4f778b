"""The classes and functions that a file may name."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any, TypeAlias

from reasonflow.errors import InputError
from reasonflow.language.typed_json import path_of

Allowed: TypeAlias = type | Callable[..., Any] | str
"""A class, a function, or "module:Name"."""

_OURS = "reasonflow.programs"
_PATH = re.compile(r"[A-Za-z_][\w.]*:[^\s:]+")


class AllowedClasses:
    """What stands under `reasonflow.programs`, and what the caller names: classes, functions, or "module:Name"."""

    def __init__(self, allow: Iterable[Allowed] | Allowed) -> None:
        given = (allow,) if isinstance(allow, (str, type, FunctionType)) else tuple(allow)  # type: ignore[arg-type]
        self._named = {path_of(one): one for one in given if isinstance(one, (type, FunctionType))}
        self._paths = {one for one in given if isinstance(one, str)}
        for one in given:
            if not isinstance(one, (type, FunctionType)) and not (isinstance(one, str) and _PATH.fullmatch(one)):
                raise InputError(f"allow={one!r} names no class", fix='give a class, a function, or "module:Name"')

    def find(self, path: str) -> type:
        """The class of this path. Raises InputError where it is not allowed, before anything is imported."""
        found: type = self._found(path, type, "class", ours=True)
        return found

    def function(self, path: str) -> Callable[..., Any]:
        """The function of this path, such as a tool. Raises InputError where it is not allowed: none of ours is."""
        found: Callable[..., Any] = self._found(path, FunctionType, "function", ours=False)
        return found

    def _found(self, path: str, kind: type, noun: str, *, ours: bool) -> Any:
        named = {name: one for name, one in self._named.items() if isinstance(one, kind)}
        if path in named:
            return named[path]
        module, _, name = path.partition(":")
        for one in named.values():
            # What a script defines has another module where the script is imported.
            if one.__qualname__ == name and "__main__" in (module, one.__module__):
                return one
        is_ours = ours and (module == _OURS or module.startswith(f"{_OURS}."))
        if not _PATH.fullmatch(path) or not (is_ours or path in self._paths):
            raise InputError(
                f"the artifact names the {noun} {path}, which is not allowed",
                why="loading it would import and run that module",
                fix=f"if you trust the file: rf.load(path, allow=[{path!r}])",
            )
        try:
            found: Any = importlib.import_module(module)
            for part in name.split("."):
                found = vars(found)[part]
        except (ImportError, KeyError, TypeError) as error:
            raise InputError(f"there is no {noun} {path}", why=repr(error), fix="has it moved since?") from error
        if not isinstance(found, kind) or path_of(found) != path:  # type: ignore[arg-type]  # it is one
            raise InputError(f"{path} is no {noun} of that module", fix="save the program again")
        return found
