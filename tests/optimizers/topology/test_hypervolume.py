"""The hypervolume, against counting cells."""

from __future__ import annotations

import itertools
import random

import pytest

from reasonflow.optimizers.topology.hypervolume import Losses, hypervolume

SIDE = 6


def counted(points: list[Losses]) -> int:
    """Cells of a grid of side SIDE that lie behind one of the points."""
    cells = itertools.product(range(SIDE), repeat=3)
    return sum(any(all(p <= c for p, c in zip(point, cell, strict=True)) for point in points) for cell in cells)


@pytest.mark.parametrize("count", [0, 1, 2, 5, 12])
def test_it_is_the_volume_behind_the_points(count: int) -> None:
    draw = random.Random(count)
    for _ in range(50):
        points = [(draw.randrange(SIDE + 2), draw.randrange(SIDE + 2), draw.randrange(SIDE + 2)) for _ in range(count)]
        assert hypervolume(points, (SIDE, SIDE, SIDE)) == pytest.approx(counted(points))


def test_what_is_dominated_or_no_better_than_the_reference_adds_nothing() -> None:
    one = hypervolume([(1, 1, 1)], (2, 2, 2))
    assert one == hypervolume([(1, 1, 1), (1, 1, 1), (1.5, 1, 1), (0, 0, 2)], (2, 2, 2)) == 1
