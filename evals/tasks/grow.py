"""Random graphs by knobs, grown backwards from the answer.

The answer is drawn first, from all values alike; what makes it is found by undoing operations. So every value on the
way stays in range, whatever the size of the graph, and answers are spread evenly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

from reasonflow.evals.tasks.chance import between, pick
from reasonflow.evals.tasks.graph import LARGEST, Graph, Quantity, Sign
from reasonflow.evals.tasks.knobs import Knobs
from reasonflow.evals.tasks.lexicon import LEXICONS

_DIVISORS = ((), *(tuple(d for d in range(2, 10) if value % d == 0) for value in range(1, LARGEST + 1)))
_GIVEN_SHARE = 0.4
"""Of the distractors: the others are made of a quantity that stands in the problem."""


def grow(knobs: Knobs, random: Random) -> Graph:
    """A graph as the knobs say; equal for an equal state of `random`."""
    names = LEXICONS[knobs.lexicon].draw(random, between(random, *knobs.words))
    asked = next(names)
    ends, joins = _split(asked, between(random, 0, knobs.largest), knobs, random, names)
    quantities: list[Quantity] = []
    for part, (name, value) in enumerate(ends):
        quantities += _chain(name, value, part, knobs, random, names)
    quantities += reversed(joins)
    for _ in range(between(random, *knobs.distractors)):
        quantities.append(_distractor(quantities, knobs.largest, random, next(names)))
    return Graph(tuple(quantities), asked)


def _split(
    asked: str, answer: int, knobs: Knobs, random: Random, names: Iterator[str]
) -> tuple[list[tuple[str, int]], list[Quantity]]:
    """The ends of the parts with their values, and the joins that make the answer of them, the asked one first."""
    ends, joins = [(asked, answer)], list[Quantity]()
    for _ in range(between(random, *knobs.width) - 1):
        chosen = int(random.random() * len(ends))
        name, value = ends[chosen]
        left, right = next(names), next(names)
        sign: Sign
        if random.random() < 0.5:
            sign, second = "+", between(random, 0, value)
            first = value - second
        else:
            sign, second = "-", between(random, 0, knobs.largest - value)
            first = value + second
        joins.append(Quantity(name, sign, (left, right), value, None))
        ends[chosen] = (left, first)
        ends.append((right, second))
    return ends, joins


def _chain(name: str, value: int, part: int, knobs: Knobs, random: Random, names: Iterator[str]) -> Iterator[Quantity]:
    """A part that ends in `name`, its given quantity first."""
    backwards: list[Quantity] = []
    left = between(random, *knobs.depth)
    draw, largest, branching, sharing = random.random, knobs.largest, knobs.branching, knobs.sharing
    while left > 1:
        before = next(names)
        if left > 2 and value > 2 and draw() < sharing:
            # name = middle + before, middle = before ± number
            other = between(random, 1, value - 1)
            apart = value - 2 * other
            if apart:
                middle = next(names)
                backwards.append(Quantity(name, "+", (middle, before), value, part))
                sign: Sign = "+" if apart > 0 else "-"
                backwards.append(Quantity(middle, sign, (before, abs(apart)), value - other, part))
                name, value, left = before, other, left - 2
                continue
        sign, number, earlier = _undo(value, largest, draw)
        if (sign == "+" or sign == "-") and draw() < branching:
            second = next(names)
            backwards.append(Quantity(name, sign, (before, second), value, part))
            backwards.append(Quantity(second, "", (number,), number, part))
        else:
            backwards.append(Quantity(name, sign, (before, number), value, part))
        name, value, left = before, earlier, left - 1
    backwards.append(Quantity(name, "", (value,), value, part))
    return reversed(backwards)


def _undo(value: int, largest: int, draw: Callable[[], float]) -> tuple[Sign, int, int]:
    """(sign, number, earlier value): `earlier sign number` is `value`, and all three are in range."""
    kind = draw()
    if kind < 0.25 and _DIVISORS[value]:
        divisors = _DIVISORS[value]
        times = divisors[int(draw() * len(divisors))]
        return "*", times, value // times
    if kind < 0.5 and 0 < value <= largest // 2:
        times = 2 + int(draw() * (min(9, largest // value) - 1))
        return "/", times, value * times
    if value == largest or (value and draw() < 0.5):
        number = 1 + int(draw() * value)
        return "+", number, value - number
    number = 1 + int(draw() * (largest - value))
    return "-", number, value + number


def _distractor(quantities: list[Quantity], largest: int, random: Random, name: str) -> Quantity:
    base = pick(random, quantities)
    if random.random() < _GIVEN_SHARE:
        value = between(random, 0, largest)
        return Quantity(name, "", (value,), value, None, False)
    if base.value == largest or (base.value and random.random() < 0.5):
        number = between(random, 1, base.value)
        return Quantity(name, "-", (base.name, number), base.value - number, None, False)
    number = between(random, 1, largest - base.value)
    return Quantity(name, "+", (base.name, number), base.value + number, None, False)
