"""The Pareto front of a compile: settings that no other beats in accuracy, sequential and total tokens at once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist, fmean, stdev
from typing import Any, Literal, TypeAlias, get_args

from reasonflow.errors import InputError, UnknownName
from reasonflow.language.choices import freeze
from reasonflow.language.program import Program
from reasonflow.optimizers.topology.space import Settings, shown, with_settings

Objective: TypeAlias = Literal["accuracy", "sequential", "total"]
"""What a program is set by: the highest accuracy; or the fewest tokens among those not told apart from it."""
_Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One setting, measured on all problems."""

    trial: int
    settings: Settings
    accuracy: float
    """The mean score."""
    low: float
    high: float
    """Its 95 % interval over problems. The best of several looks better than it is: measure it again on others."""
    sequential: float
    """Tokens along the longest path of a run, on average."""
    total: float
    """Input and output tokens of a run, on average."""
    problems: int

    def of(self, program: Program) -> Program:
        """A copy of the program with these settings."""
        return with_settings(program, self.settings)

    def dominates(self, other: Point) -> bool:
        """No worse in anything, and better in something."""
        ours = (-self.accuracy, self.sequential, self.total)
        theirs = (-other.accuracy, other.sequential, other.total)
        return ours != theirs and all(mine <= yours for mine, yours in zip(ours, theirs, strict=True))


@dataclass(frozen=True, slots=True)
class Front:
    """The points no other dominates, dearest last."""

    points: tuple[Point, ...]
    beaten: tuple[Point, ...] = ()
    """Measured whole, and dominated."""

    @classmethod
    def among(cls, points: Iterable[Point]) -> Front:
        """The front of these; of points with equal figures the first stays."""
        every = sorted(points, key=lambda point: point.trial)
        kept: list[Point] = []
        for point in every:
            figures = (point.accuracy, point.sequential, point.total)
            same = any((other.accuracy, other.sequential, other.total) == figures for other in kept)
            if not same and not any(other.dominates(point) for other in every):
                kept.append(point)
        beaten = tuple(point for point in every if point not in kept)
        return cls(tuple(sorted(kept, key=lambda point: (point.sequential, point.total))), beaten)

    def best(self, objective: Objective = "accuracy") -> Point:
        """The point a program is set to. Raises UnknownName for another objective."""
        if objective not in get_args(Objective):
            raise UnknownName.among("objective", objective, get_args(Objective))
        best = max(self.points, key=lambda point: (point.accuracy, -point.total))
        if objective == "accuracy":
            return best
        rivals = [point for point in self.points if point.high >= best.accuracy]
        return min(rivals, key=lambda point: (getattr(point, objective), -point.accuracy))

    def pick(self, *, sequential: float | None = None, total: float | None = None) -> Point:
        """The most accurate point within these tokens of a run, on average. Raises InputError where none is."""
        limits = {"sequential": sequential, "total": total}
        given = {name: limit for name, limit in limits.items() if limit is not None}
        if not given:
            raise InputError("there is no limit to pick by", fix="front.pick(sequential=16_384), or total=")
        within = [p for p in self.points if all(getattr(p, name) <= limit for name, limit in given.items())]
        if not within:
            least = ", ".join(f"{name}={min(getattr(p, name) for p in self.points):,.0f}" for name in given)
            words = ", ".join(f"{name}={limit:,}" for name, limit in given.items())
            raise InputError(f"no point of the front is within {words}", why=f"the least there is: {least}")
        return max(within, key=lambda point: (point.accuracy, -point.total))

    def to_json(self) -> dict[str, Any]:
        """Everything, in JSON's types."""
        return {"points": list(map(asdict, self.points)), "beaten": list(map(asdict, self.beaten))}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Front:
        """What `to_json` gave. Raises InputError for what is no front."""
        try:
            return cls(tuple(map(_point, found["points"])), tuple(map(_point, found["beaten"])))
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError("this is no front of a compile", why=repr(error), fix="compile again") from error

    def plot(self, path: str | Path) -> None:
        """Draw accuracy against sequential and against total tokens, with intervals, into an image file."""
        from reasonflow.optimizers.front_picture import draw

        draw(self, Path(path))

    def __str__(self) -> str:
        rows = [("accuracy", "95 %", "sequential", "total", "settings")]
        rows += [
            (
                f"{p.accuracy:.3f}",
                f"{p.low:.3f}–{p.high:.3f}",
                f"{p.sequential:,.0f}",
                f"{p.total:,.0f}",
                shown(p.settings),
            )
            for p in self.points
        ]
        return "\n".join(f"{a:>8}  {b:>13}  {c:>10}  {d:>10}  {e}" for a, b, c, d, e in rows)


def interval(scores: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of their mean: Wilson's for 0 and 1, else by the normal distribution.

    Source: Wilson 1927, J. Amer. Statist. Assoc. 22, 209-212.
    """
    count, mean = len(scores), fmean(scores)
    if set(scores) <= {0.0, 1.0}:
        scale = 1 + _Z**2 / count
        centre = (mean + _Z**2 / (2 * count)) / scale
        spread = _Z * math.sqrt(mean * (1 - mean) / count + _Z**2 / (4 * count**2)) / scale
        return max(0.0, centre - spread), min(1.0, centre + spread)
    spread = _Z * stdev(scores) / math.sqrt(count) if count > 1 else math.inf
    return mean - spread, mean + spread


def _point(found: Mapping[str, Any]) -> Point:
    settings = {name: freeze(value) for name, value in found["settings"].items()}
    return Point(**{**found, "settings": settings})
