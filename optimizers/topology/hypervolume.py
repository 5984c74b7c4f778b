"""The space that a front leaves behind it: one number for how far settings have come in several things at once."""

from __future__ import annotations

from collections.abc import Iterable

Losses = tuple[float, float, float]
"""What is to be small, in three respects."""


def hypervolume(points: Iterable[Losses], reference: Losses) -> float:
    """The volume of all that is worse than one of the points and better than the reference, in every respect.

    A point that is not better than the reference in all three adds nothing. Source: Zitzler and Thiele 1998, "Multi-
    objective optimization using evolutionary algorithms", section 3: the size of the space covered.
    """
    inside = sorted(
        {p for p in points if all(mine < limit for mine, limit in zip(p, reference, strict=True))}, key=_last
    )
    volume = 0.0
    for place, point in enumerate(inside):  # from one point's third loss to the next one's, the slice is constant
        until = inside[place + 1][2] if place + 1 < len(inside) else reference[2]
        if until > point[2]:
            volume += (until - point[2]) * _area(inside[: place + 1], reference)
    return volume


def _area(points: list[Losses], reference: Losses) -> float:
    """Of the first two losses."""
    area, least = 0.0, reference[1]
    for first, second, _ in sorted(points):
        if second < least:
            area += (reference[0] - first) * (least - second)
            least = second
    return area


def _last(point: Losses) -> float:
    return point[2]
