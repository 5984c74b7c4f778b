"""What a program is made of, by the names DSPy gives it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import dspy
from dspy.predict.parameter import Parameter


def parts_of(module: dspy.Module, path: str = "", seen: set[int] | None = None) -> Iterator[tuple[str, Any]]:
    """The parameters and modules that make up a program, as DSPy names them, and what is compiled too.

    What optimizers attach to a program, such as the candidates it was chosen from, lies deeper than DSPy looks.
    """
    seen = set() if seen is None else seen
    for name, value in vars(module).items():
        items = [(name, value)]
        if isinstance(value, (list, tuple)):
            items = [(f"{name}[{place}]", item) for place, item in enumerate(value)]
        elif isinstance(value, dict):
            items = [(f"{name}['{key}']", item) for key, item in value.items()]
        for found, part in items:
            if not isinstance(part, (Parameter, dspy.Module)) or id(part) in seen:
                continue
            seen.add(id(part))
            yield path + found, part
            if not isinstance(part, Parameter):
                yield from parts_of(part, f"{path}{found}.", seen)


def of_kind(parts: Mapping[str, Any], kind: type) -> dict[str, Any]:
    """Those of a program's parts that are of this kind."""
    return {name: part for name, part in parts.items() if isinstance(part, kind)}


def modules_of(program: dspy.Module) -> dict[str, Any]:
    """The program itself, by an empty name, and the modules in it that are no predictors."""
    inner = {name: part for name, part in parts_of(program) if not isinstance(part, Parameter)}
    return {"": program, **inner}
