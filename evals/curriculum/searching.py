"""What a model writes that searches for missing numbers: a thought and queries, until it can solve the problem.

A thought names what is looked for, each as far as it has been followed: `red cups = silver dolls`. So every word that
is written follows from one place: a name from the text or from a result, a query from the name before it. The first
thought stands in the first line: as released, whoever reads pages is shown that line and of a wide turn's queries only
the last, and 30 % of notes on the others were wrong without it, 19 % with it, where of all else 0.5 % were.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from reasonflow.evals.tasks.facts import Fact, read_facts
from reasonflow.evals.tasks.lookups import Lookup, query
from reasonflow.programs.query_blocks import BEGIN, END, THINK, THINK_END
from reasonflow.programs.search_machine import NOTHING
from reasonflow.programs.search_prompts import FINAL

_FITS, _DIFFERS = "fit", "differ"
"""What is said of an item that a page names: right behind it, where both of its words are near."""
UNKNOWN = "\\boxed{unknown}"
_QUERY = re.compile(r"([a-z]+ [a-z]+)(?: in| of)? house (\d+)")
_STATES = re.compile(r"[a-z]+ [a-z]+ = (?:(?P<value>\d+)|(?P<name>[a-z]+ [a-z]+) house (?P<house>\d+))")


def turn(lookups: Iterable[Lookup], notes: Mapping[str, str], solution: str, *, sequential: bool) -> str:
    """The next text: the queries that can be asked by now, or the solution where none is left.

    It gives up where something was not found in any words: `UNKNOWN` is the answer.

    lookups: of the problem, in the order of its text. Behind the first in each chain nothing is known but by notes.
    notes: query to what came of it, so far. A first turn opens its thought, later ones find it open. sequential: one
    query, the first of those that can be asked.
    """
    ways = [_follow(lookup.name, lookup.house, notes) for lookup in lookups]
    if not ways:
        return solution
    if lost := [way.thought for way in ways if way.lost]:
        return f"{', '.join(lost)}\n{THINK_END}\n{UNKNOWN}"
    asked = [way for way in ways if way.query][: 1 if sequential else None]
    thought = ", ".join(way.thought for way in asked or ways)
    head = "" if notes else THINK
    queries = ";\n".join(way.query for way in asked)
    return f"{head}{thought}\n{THINK_END}\n" + (f"{BEGIN}\n{queries}\n{END}" if asked else solution)


def askings(name: str, house: int) -> tuple[str, ...]:
    """A query, and the same in other words, for where those before find nothing."""
    return query(name, house), f"{name} in house {house}", f"{name} of house {house}"


def note_in(pages: str, asked: str) -> str:
    """The note that pages give to a query, or `NOTHING`: an item and its number, or what to ask next."""
    return next((_note(fact) for fact in read_facts(pages) if _is_sought(fact, asked)), NOTHING)


def reading(pages: str, asked: str) -> str:
    """How a model comes to its note: it copies what pages say of the house, up to the sentence that was asked for.

    Behind each sentence stands its item once more, and whether it is the one. Without that the first word of a name
    alone decided, and 80 % of notes were right instead of 96 %.
    """
    lines: list[str] = []
    for page in pages.split("\n\n"):
        title, _, text = page.partition("\n")
        lines.append(title)
        if not asked.endswith(title.partition(": ")[2]):
            continue  # of another house
        for sentence in text.replace(". ", ".\n").split("\n"):
            note = note_in(sentence, asked)
            verdict = _DIFFERS if note == NOTHING else _FITS
            lines += [sentence, *(f"{fact.name} {verdict}" for fact in read_facts(sentence))]
            if note != NOTHING:
                return "\n".join((*lines, condensed(note)))
    return "\n".join((*lines, condensed(NOTHING)))


def _is_sought(fact: Fact, asked: str) -> bool:
    found = _QUERY.fullmatch(asked)
    return found is not None and (fact.name, str(fact.house)) == found.groups()


def note_of(hop: Lookup) -> str:
    """The same of pages that hold its fact."""
    return _note(Fact(hop.name, hop.house, hop.value if hop.next is None else (hop.next.name, hop.next.house)))


def _note(fact: Fact) -> str:
    return f"{fact.name} = {fact.gives if isinstance(fact.gives, int) else query(*fact.gives)}"


def condensed(note: str) -> str:
    """A note as the model writes it that reads the pages."""
    return f"{FINAL}\n{note}"


class _Way(NamedTuple):
    """A chain as far as notes go."""

    thought: str
    query: str
    """What to ask next; empty at its end."""
    lost: bool = False
    """Whether it was asked for in all words, and not found."""


def _follow(name: str, house: int, notes: Mapping[str, str]) -> _Way:
    thought = name
    while True:
        asked = next((words for words in askings(name, house) if notes.get(words) != NOTHING), "")
        if not asked:
            return _Way(f"{thought} unknown", "", lost=True)
        states = _STATES.fullmatch(notes.get(asked, NOTHING))
        if states is None:
            return _Way(thought, asked)
        if states["value"]:
            return _Way(f"{thought} = {states['value']}", "")
        name, house = states["name"], int(states["house"])
        thought = f"{thought} = {name}"
