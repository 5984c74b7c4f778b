"""Numbers that a problem leaves out: in which house each of them stands, and which house that one names in turn.

How many of an item a house has follows from both by a hash. So no two facts contradict each other, whichever problems
they belong to; a house for a number is looked for until one fits.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from reasonflow.evals.tasks.chance import between, pick, shuffle
from reasonflow.evals.tasks.graph import LARGEST, Graph
from reasonflow.evals.tasks.knobs import Knobs
from reasonflow.evals.tasks.lexicon import LEXICONS

FEWEST_DIGITS, MOST_DIGITS = 4, 6
"""Of a house's number."""


@dataclass(frozen=True, slots=True)
class Lookup:
    """An item in a house: one fact of the corpus."""

    name: str
    """Of the item. At the beginning of a chain it is the name of the quantity that is missing."""
    house: int
    value: int
    """How many there are: the same all along a chain."""
    next: Lookup | None = None
    """What the fact names in place of its number: an item in another house, of which there are as many."""

    @property
    def query(self) -> str:
        """What finds the fact."""
        return query(self.name, self.house)

    def hops(self) -> Iterator[Lookup]:
        """Itself and all behind it, in order; the last one states the number."""
        hop: Lookup | None = self
        while hop is not None:
            yield hop
            hop = hop.next


class SubQuestion(NamedTuple):
    """One search out of all that a problem takes."""

    query: str
    needs: tuple[int, ...]
    """Those whose results name it, by their places from 0; empty where the problem's text does."""


def query(name: str, house: int) -> str:
    """The words to search for."""
    return f"{name} house {house}"


def decomposed(lookups: Iterable[Lookup]) -> tuple[SubQuestion, ...]:
    """All searches, chain by chain: so a model asks that asks one at a time."""
    found: list[SubQuestion] = []
    for lookup in lookups:
        for place, hop in enumerate(lookup.hops()):
            found.append(SubQuestion(hop.query, (len(found) - 1,) if place else ()))
    return tuple(found)


def rounds(lookups: Iterable[Lookup]) -> tuple[tuple[str, ...], ...]:
    """The queries of each turn, where all that can be asked at once are."""
    chains = [[hop.query for hop in lookup.hops()] for lookup in lookups]
    longest = max(map(len, chains), default=0)
    return tuple(tuple(chain[turn] for chain in chains if turn < len(chain)) for turn in range(longest))


def held_in(house: int, name: str) -> int:
    """How many of an item a house has: from 0 to LARGEST."""
    return zlib.crc32(b"%d" % house, zlib.crc32(name.encode())) % (LARGEST + 1)


def any_house(random: Random) -> int:
    """Shorter numbers are as likely as longer ones."""
    digits = between(random, FEWEST_DIGITS, MOST_DIGITS)
    return between(random, 10 ** (digits - 1), 10**digits - 1)


def house_with(name: str, value: int, random: Random, taken: Container[int] = ()) -> int:
    """A house that has so many of an item: the first one from a random number on that is not taken."""
    salt = zlib.crc32(name.encode())
    while True:
        start = any_house(random)
        for house in range(start, 10 ** len(str(start))):
            # `held_in`, written out: a thousand houses are tried for each that fits
            if zlib.crc32(b"%d" % house, salt) % (LARGEST + 1) == value and house not in taken:
                return house


def draw_lookups(graph: Graph, knobs: Knobs, random: Random) -> tuple[Lookup, ...]:
    """Chains for some of the given quantities that a solution states, as the knobs say."""
    if not knobs.missing[1]:
        return ()  # draws nothing: problems without look-ups are what they were before there were any
    given = [quantity for quantity in graph.needed if not quantity.sign]
    shuffle(random, given)
    names, houses = {quantity.name for quantity in graph.quantities}, set[int]()
    return tuple(
        _chain(quantity.name, quantity.value, between(random, *knobs.hops), knobs, random, names, houses)
        for quantity in given[: between(random, *knobs.missing)]
    )


def in_order_of(text: str, lookups: Iterable[Lookup]) -> tuple[Lookup, ...]:
    """The look-ups in the order in which a text names their houses."""
    places = {int(found[1]): found.start() for found in re.finditer(r"house (\d+)", text)}
    return tuple(sorted(lookups, key=lambda lookup: places[lookup.house]))


def _chain(name: str, value: int, hops: int, knobs: Knobs, random: Random, names: set[str], houses: set[int]) -> Lookup:
    """names, houses: those that the problem has so far, which come no second time."""
    house = house_with(name, value, random, houses)
    houses.add(house)
    if hops == 1:
        return Lookup(name, house, value)
    other = pick(random, LEXICONS[knobs.lexicon].names)
    while other in names:
        other = pick(random, LEXICONS[knobs.lexicon].names)
    names.add(other)
    return Lookup(name, house, value, _chain(other, value, hops - 1, knobs, random, names, houses))
