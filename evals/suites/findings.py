"""What a suite found: rows with their figures, the goals they are held to, and breakdowns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from reasonflow.evals.statistics import Interval

DIGITS = 6


class Share(NamedTuple):
    """A share of right ones, and of how many; None of none."""

    value: float | None
    of: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One arm on one task. Token figures are means of a problem's run, None where nothing ran for this row alone."""

    task: str
    arm: str
    figure: str
    """The name of its result among the figures."""
    result: Interval | None
    """Accuracy, if the arm says nothing else, problems as clusters; None where there was nothing to take it from."""
    setting: str = ""
    """What was chosen for it, as n=12."""
    against: str = ""
    """The arm it is compared with, problem by problem; empty for none."""
    difference: Interval | None = None
    """Its result minus that arm's."""
    problems: int = 0
    total_tokens: float | None = None
    sequential_tokens: float | None = None

    @property
    def difference_figure(self) -> str:
        """The name of its difference among the figures."""
        return f"{self.arm}_minus_{self.against}_{self.task}"

    def figures(self) -> dict[str, float | None]:
        """Its numbers by their names."""
        found = {self.figure: None if self.result is None else self.result.value}
        if self.difference is not None:
            found[self.difference_figure] = self.difference.value
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What a figure should be. The ends belong to it, but for `above`."""

    figure: str
    least: float | None = None
    most: float | None = None
    above: float | None = None
    """It has to be more than this."""

    def met(self, figures: Mapping[str, float | None]) -> bool | None:
        """Whether the figure is so; None where there is no such figure."""
        value = figures.get(self.figure)
        if value is None:
            return None
        return (
            (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
        )

    def __str__(self) -> str:
        if self.above is not None:
            return f"more than {self.above:.2f}"
        if self.least is not None and self.most is not None:
            return f"{self.least:.2f} to {self.most:.2f}"
        return f"at least {self.least:.2f}" if self.least is not None else f"at most {self.most:.2f}"


@dataclass(frozen=True, slots=True)
class Breakdown:
    """A second table: rows with equal columns, whose cells are words, counts, numbers or shares."""

    name: str
    """Its key in the JSON object."""
    title: str
    rows: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """All of a suite."""

    rows: tuple[Row, ...]
    goals: tuple[Goal, ...] = ()
    breakdowns: tuple[Breakdown, ...] = ()
    more: Mapping[str, float | None] = field(default_factory=dict)
    """Figures that stand in no row."""

    @property
    def figures(self) -> dict[str, float | None]:
        """Every figure by its name, flat."""
        found: dict[str, float | None] = {}
        for row in self.rows:
            found |= row.figures()
        return {**found, **self.more}

    def to_json(self) -> dict[str, Any]:
        """Plain JSON: `figures`, `goals`, `rows`, and the breakdowns by their names."""
        figures = self.figures
        goals = [
            {"figure": goal.figure, "goal": str(goal), "value": figures.get(goal.figure), "met": goal.met(figures)}
            for goal in self.goals
        ]
        breakdowns = {
            breakdown.name: [{name: _plain(cell) for name, cell in row.items()} for row in breakdown.rows]
            for breakdown in self.breakdowns
        }
        rows = [asdict(row) for row in self.rows]
        found: dict[str, Any] = _rounded({"figures": figures, "goals": goals, "rows": rows, **breakdowns})
        return found


def _plain(cell: Any) -> Any:
    return cell._asdict() if isinstance(cell, Share) else cell


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return round(value, DIGITS) if isinstance(value, float) else value
