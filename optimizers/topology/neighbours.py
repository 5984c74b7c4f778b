"""Settings one step away from those that no other beats."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

from reasonflow.optimizers.topology.space import Interval, Options, Settings, Space

_CROSSED = 0.3
"""Share of steps that first mix two unbeaten settings, knob by knob."""
_NEAR = 0.5
"""Share of steps along a list or an interval to what stands nearby: a list of options is often an order, of widths by
their cost, of temperatures."""
_STEP = 0.15
"""Of an interval, how far nearby is: the deviation of a step."""


def neighbours(unbeaten: Sequence[Settings], space: Space, draw: random.Random) -> Iterator[Settings]:
    """Endlessly many, one knob changed in each. unbeaten: at least one."""
    while True:
        begin = dict(draw.choice(unbeaten))
        if draw.random() < _CROSSED:
            other = draw.choice(unbeaten)
            begin = {name: draw.choice((value, other[name])) for name, value in begin.items()}
        dimension = draw.choice(space.dimensions)
        yield {**begin, dimension.name: _other(dimension, begin[dimension.name], draw)}


def drawn(dimension: Options | Interval, draw: random.Random) -> Any:
    """A value, drawn evenly; by its logarithm where the interval says so."""
    return draw.choice(dimension.values) if isinstance(dimension, Options) else dimension.at(draw.random())


def _other(dimension: Options | Interval, value: Any, draw: random.Random) -> Any:
    if draw.random() >= _NEAR:
        return drawn(dimension, draw)
    if isinstance(dimension, Options):
        place = dimension.values.index(value) + draw.choice((-1, 1))
        return dimension.values[min(max(place, 0), len(dimension.values) - 1)]
    return dimension.at(min(1.0, max(0.0, dimension.place(value) + draw.gauss(0.0, _STEP))))
