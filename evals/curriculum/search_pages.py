"""Pages as a search would find them: the one with the fact, those that look like it, sometimes those alone."""

from __future__ import annotations

import re
from collections.abc import Iterable
from random import Random

from reasonflow.evals.curriculum.searching import askings
from reasonflow.evals.tasks.chance import between, shuffle
from reasonflow.evals.tasks.corpus import about, beside, look_alike, one_word
from reasonflow.evals.tasks.lookups import Lookup
from reasonflow.programs.retrieval.passages import Passage

MOST = 5
"""Pages of a search, as HybridSearch asks for them."""
_FEWER = 0.3
"""Share of searches that find fewer."""
_MISSED = 0.15
"""Share of searches that do not find the fact."""
_RANKED = 0.6
"""Share of searches whose pages stand in order, those with most words of the query first. In the others the fact may
stand anywhere: a model that always takes the first page has learned nothing."""
_HOUSE = 0.75
"""Share of searches that find pages of the house alone, as BM25 does in 96 of 100: its number is the rarest word. Where
lessons had five such pages in 2 of 100, a model noted 95 % of the facts that it searched for."""
_ONE_WORD = 0.6
"""Share of searches that find, too, what the house has of items with one of the two words. Corpora have few of them: a
model that looks at the first word alone is right four times of five, and learns no more."""
_TRIED = 8
"""Look-alikes among which those are chosen that are most alike."""
_WORD = re.compile(r"\w+")


def pages_about(lookups: Iterable[Lookup], asked: str, random: Random) -> list[Passage]:
    """One to five pages for a query of a problem."""
    before, hop = _of(lookups, asked)
    taken = {(hop.name, hop.house)}
    of_house = random.random() < _HOUSE
    others = [look_alike(hop, taken, random, (beside,) if of_house else None) for _ in range(_TRIED)]
    if before is not None and not of_house:  # it names the item and the house too, and says nothing about them
        others.append(about(before, taken, random))
    count = between(random, 1, MOST - 1) if random.random() < _FEWER else MOST
    found = [] if random.random() < _MISSED else [about(hop, taken, random)]
    wanted = set(_WORD.findall(asked))
    others.sort(key=lambda page: _fits(page, wanted))
    if random.random() < _ONE_WORD:
        others[:0] = (look_alike(hop, taken, random, (one_word,)) for _ in range(between(random, 1, 2)))
    found += others[: count - len(found)]
    shuffle(random, found)
    if random.random() < _RANKED:
        found.sort(key=lambda page: _fits(page, wanted))
    return [Passage(id=str(number), title=title, text=text) for number, (title, text) in enumerate(found)]


def _fits(page: tuple[str, str], wanted: set[str]) -> int:
    """Lower is better."""
    return -len(wanted & set(_WORD.findall(f"{page[0]} {page[1]}".lower())))


def _of(lookups: Iterable[Lookup], asked: str) -> tuple[Lookup | None, Lookup]:
    """What a query is to find, and what was found before it in its chain."""
    for lookup in lookups:
        before = None
        for hop in lookup.hops():
            if asked in askings(hop.name, hop.house):
                return before, hop
            before = hop
    raise AssertionError(f"{asked!r} is no query of these look-ups")
