"""What a program says for all of its call sites that say nothing themselves: layout, temperature, language models."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import dspy

from reasonflow.errors import InputError, UnknownName
from reasonflow.language.choices import Choice, Range, resolve
from reasonflow.prompts.layouts import Order, check_order


@dataclass(frozen=True, slots=True)
class SiteDefaults:
    """Of one program, as it stands when it is traced."""

    layout: Order = "auto"
    temperature: float | None = None
    """None: that of the language model."""
    models: Mapping[int, dspy.BaseLM] = field(default_factory=dict)
    """By the identity of the call site."""

    def around(self, inner: SiteDefaults) -> SiteDefaults:
        """What holds inside a program nested in this one: what it says itself, and this one's where it says nothing."""
        return SiteDefaults(
            layout=self.layout if inner.layout == "auto" else inner.layout,
            temperature=self.temperature if inner.temperature is None else inner.temperature,
            models={**self.models, **inner.models},
        )


def check_layout(value: Any, whose: str) -> Order:
    """The layout that a program was set to. Raises UnknownName, of a Choice for any of its options."""
    for option in options_of(value):
        check_order(option, whose)
    return check_order(resolve(value), whose)


def check_temperature(value: Any, whose: str) -> float | None:
    """The temperature that a program was set to. Raises InputError, of a Choice for any of its options."""
    for option in options_of(value):
        if option is not None and not _is_temperature(option):
            raise InputError(
                f"temperature of {whose}: {option!r} is none",
                fix="give a number from 0 up, None for the model's own, or an rf.Choice or rf.Range of them",
            )
    found: float | None = resolve(value)
    return found


def check_roles(
    roles: Mapping[str, Any], models: Mapping[str, dspy.BaseLM], sites: Mapping[str, Any], whose: str
) -> dict[int, dspy.BaseLM]:
    """The language model of each call site that has a role, by the site's identity.

    roles: a name among `models`, or a Choice of such, by the attribute path of the site. Raises UnknownName for a site
    or a model that is not there, InputError where there are no models at all.
    """
    found = {}
    for path, role in roles.items():
        if path not in sites:
            raise UnknownName.among(f"call site of {whose}", path, sites)
        if not models:
            raise InputError(
                f"{whose} has no language model called {resolve(role)!r}",
                why=f"its call site {path!r} has that role, and artifacts hold no language models",
                fix="program.models = {" + repr(resolve(role)) + ": rf.vllm(...)}",
            )
        for option in options_of(role):
            if option not in models:
                raise UnknownName.among(f"language model of {whose}", str(option), models)
        found[id(sites[path])] = models[resolve(role)]
    return found


def options_of(value: Any) -> tuple[Any, ...]:
    """Every value that it may be set to: of a Range its two ends."""
    if isinstance(value, Range):
        return value.low, value.high
    return (value.value, *(value.options or ())) if isinstance(value, Choice) else (value,)


def _is_temperature(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf
