"""The classes that a file may name."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable
from typing import Any

from reasonflow.errors import InputError
from reasonflow.language.typed_json import path_of

_OURS = "reasonflow.programs"
_PATH = re.compile(r"[A-Za-z_][\w.]*:[^\s:]+")


class AllowedClasses:
    """What stands under `reasonflow.programs`, and what the caller names: classes, or "module:Class"."""

    def __init__(self, allow: Iterable[type | str] | type | str) -> None:
        given = (allow,) if isinstance(allow, (str, type)) else tuple(allow)
        self._classes = {path_of(one): one for one in given if isinstance(one, type)}
        self._paths = {one for one in given if isinstance(one, str)}
        for one in given:
            if not isinstance(one, type) and not (isinstance(one, str) and _PATH.fullmatch(one)):
                raise InputError(f"allow={one!r} names no class", fix='give a class, or "module:Class"')

    def find(self, path: str) -> type:
        """The class of this path. Raises InputError where it is not allowed, before anything is imported."""
        if path in self._classes:
            return self._classes[path]
        module, _, name = path.partition(":")
        for cls in self._classes.values():
            # The class of a script has another module where the script is imported.
            if cls.__qualname__ == name and "__main__" in (module, cls.__module__):
                return cls
        ours = module == _OURS or module.startswith(f"{_OURS}.")
        if not _PATH.fullmatch(path) or not (ours or path in self._paths):
            raise InputError(
                f"the artifact names the class {path}, which is not allowed",
                why="loading it would import and run that module",
                fix=f"if you trust the file: rf.load(path, allow=[{path!r}])",
            )
        try:
            found: Any = importlib.import_module(module)
            for part in name.split("."):
                found = vars(found)[part]
        except (ImportError, KeyError, TypeError) as error:
            raise InputError(f"there is no class {path}", why=repr(error), fix="has it moved since?") from error
        if not isinstance(found, type) or path_of(found) != path:
            raise InputError(f"{path} is no class of that module", fix="save the program again")
        return found
