"""Budgets: how much a run, or a part of one, may spend."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields

from reasonflow.errors import InputError, UnknownName

_SUFFIXES = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9}
_TIMES = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_WORD = re.compile(r"([0-9][0-9_]*(?:\.[0-9]+)?|\.[0-9]+)\s*([a-z]*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What may be spent; None limits nothing. Raises InputError for a limit that is no positive number.

    A budget is a promise, kept by reserving before every call: it is never overspent. What the engine lost in a failure
    is not counted.
    """

    sequential: int | None = None
    """Input and output tokens along the longest path of each run."""
    total: int | None = None
    """Input and output tokens of all calls."""
    calls: int | None = None
    """Samples drawn."""
    seconds: float | None = None
    """Of wall time, from the moment the engine is ready."""
    dollars: float | None = None
    """By the model's price per token, or by the price of an hour of the engine."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None:
                continue
            whole = field.name in ("sequential", "total", "calls")
            if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or not value > 0:
                raise InputError(
                    f"a budget of {field.name}={value!r} is no limit",
                    fix=f"give {'a whole number above 0' if whole else 'a number above 0'}, or leave it out",
                )

    @classmethod
    def parse(cls, text: str) -> Budget:
        """The budget that `total=20k,calls=32,seconds=2m` spells. Raises InputError, UnknownName."""
        limits: dict[str, float] = {}
        known = [field.name for field in fields(cls)]
        for word in text.split(","):
            name, equals, amount = word.partition("=")
            name = name.strip()
            if not equals or not name:
                raise InputError(
                    f"{word.strip()!r} in the budget {text!r} is not of the form name=amount",
                    fix=f"write for example total=20k,seconds=90; the names are {', '.join(known)}",
                )
            if name not in known:
                raise UnknownName.among("budget", name, known)
            if name in limits:
                raise InputError(f"the budget {text!r} gives {name!r} twice", fix="keep one of them")
            limits[name] = _amount(name, amount.strip().lower())
        whole = ("sequential", "total", "calls")
        return cls(**{name: int(value) if name in whole else value for name, value in limits.items()})  # type: ignore[arg-type]

    @property
    def limits(self) -> dict[str, float]:
        """What is limited, by name."""
        return {
            field.name: getattr(self, field.name) for field in fields(self) if getattr(self, field.name) is not None
        }

    def __str__(self) -> str:
        words = {"sequential": "sequential tokens", "total": "total tokens", "calls": "calls", "seconds": "s"}
        shown = [
            f"${amount:,.4g}" if name == "dollars" else f"{amount:,.10g} {words[name]}"
            for name, amount in self.limits.items()
        ]
        return ", ".join(shown) or "no limit"


def _amount(name: str, text: str) -> float:
    match = _WORD.fullmatch(text.removeprefix("$") if name == "dollars" else text)
    units = _TIMES if name == "seconds" else _SUFFIXES
    if match is None or match[2] not in units:
        example = "90, 90s, 2m or 1h" if name == "seconds" else "20000, 20k or 1.5m"
        raise InputError(f"{text!r} is no amount for the budget {name!r}", fix=f"write for example {example}")
    return float(match[1].replace("_", "")) * units[match[2]]
