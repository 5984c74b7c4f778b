"""`python -m reasonflow.evals.tasks.corpus`: the passages that problems with missing numbers are searched in.

Every passage is about one house. One of them holds each fact of the problems, and all others look like one: the item in
another house, another item in the house, a house whose number differs in one digit, an item with one of its two words.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Container, Iterator, Sequence
from functools import cache
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Annotated, TypeAlias

import typer

from reasonflow.errors import InputError
from reasonflow.evals.tasks.chance import between, pick, shuffle
from reasonflow.evals.tasks.facts import sentence
from reasonflow.evals.tasks.lexicon import LEXICONS, Lexicon
from reasonflow.evals.tasks.lookups import Lookup, any_house, held_in, house_with
from reasonflow.evals.tasks.problems import Source, item, parse_source
from reasonflow.optimizers.command import run
from reasonflow.programs.retrieval.passages import Passage

Place: TypeAlias = tuple[str, int]
"""An item and a house."""
Kind: TypeAlias = Callable[[Lookup, Random], Place]
"""A place that is not the fact's, and looks like it."""

_NAMED = 0.3
"""Share of look-alikes that name another house in place of a number."""
_SENTENCES = (1, 3)


def corpus(source: Source, *, problems: int, passages: int) -> list[Passage]:
    """So many passages, with all facts of the first problems of a source, in random order: equal for equal arguments.

    Raises InputError where the facts need more passages, and for a source whose problems miss nothing.
    """
    facts = facts_of(source, problems)
    if len(facts) > passages:
        raise InputError(
            f"{passages:,} passages do not hold the facts of {problems:,} problems",
            why=f"there are {len(facts):,} facts, each in a passage of its own",
            fix="ask for more passages, or fewer problems",
        )
    if not facts:
        raise InputError(
            f"{source.label} leaves nothing out", why="all its numbers stand in the text", fix="try graphmath:search"
        )
    random = Random(f"corpus/{source.label}/{source.split}/{source.seed}")
    made = [about(fact, facts, random) for fact in facts.values()]
    for fact in cycle(facts.values()):
        if len(made) == passages:
            break
        made.append(look_alike(fact, facts, random))
    shuffle(random, made)
    return [Passage(id=f"p{number}", title=title, text=text) for number, (title, text) in enumerate(made)]


def facts_of(source: Source, problems: int) -> dict[Place, Lookup]:
    """All that has to be found for the first problems of a source."""
    found: dict[Place, Lookup] = {}
    for index in range(problems):
        for lookup in item(source, index).lookups:
            for hop in lookup.hops():
                found.setdefault((hop.name, hop.house), hop)
    return found


def about(fact: Lookup, taken: Container[Place], random: Random) -> tuple[str, str]:
    """Title and text of a passage that says the fact, and other things of its house that are not taken."""
    sentences = [sentence(fact, random)]
    for _ in range(between(random, *_SENTENCES) - 1):
        other = pick(random, _lexicon(fact.name).names)
        if other != fact.name and (other, fact.house) not in taken:
            sentences.append(sentence(_stated(other, fact.house), random))
    shuffle(random, sentences)
    return f"house {fact.house}", " ".join(sentences)


def look_alike(
    fact: Lookup, taken: Container[Place], random: Random, kinds: Sequence[Kind] | None = None
) -> tuple[str, str]:
    """Title and text of a passage that could be taken for one about the fact. It is true, and says nothing taken.

    kinds: of the place that it is about, one by chance; None: all there are.
    """
    while True:
        name, house = pick(random, kinds or _KINDS)(fact, random)
        if (name, house) != (fact.name, fact.house) and (name, house) not in taken:
            return about(_any_fact(name, house, random), taken, random)


def _any_fact(name: str, house: int, random: Random) -> Lookup:
    value = held_in(house, name)
    if random.random() >= _NAMED:
        return Lookup(name, house, value)
    other = pick(random, _lexicon(name).names)
    return Lookup(name, house, value, Lookup(other, house_with(other, value, random, (house,)), value))


def _elsewhere(fact: Lookup, random: Random) -> Place:
    return fact.name, any_house(random)


def beside(fact: Lookup, random: Random) -> Place:
    """Another item in the same house."""
    return pick(random, _lexicon(fact.name).names), fact.house


def _digit(fact: Lookup, random: Random) -> Place:
    digits = list(str(fact.house))
    digits[between(random, 0, len(digits) - 1)] = pick(random, "123456789")
    return fact.name, int("".join(digits))


def one_word(fact: Lookup, random: Random) -> Place:
    """One word of the item, and another one of another item, in the same house."""
    first, second = fact.name.split()
    lexicon = _lexicon(fact.name)
    names = (f"{first} {pick(random, lexicon.seconds)}", f"{pick(random, lexicon.firsts)} {second}")
    return pick(random, names), fact.house


_KINDS: tuple[Kind, ...] = (_elsewhere, beside, _digit, one_word)


def _stated(name: str, house: int) -> Lookup:
    return Lookup(name, house, held_in(house, name))


@cache  # as many entries as there are names
def _lexicon(name: str) -> Lexicon:
    return next(lexicon for lexicon in LEXICONS.values() if name in lexicon.names)


def lines(passages: list[Passage]) -> Iterator[str]:
    """As a file of JSON lines has them."""
    for passage in passages:
        yield json.dumps({"id": passage.id, "title": passage.title, "text": passage.text}) + "\n"


def main(
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the JSON lines go.")],
    problems: Annotated[int, typer.Option(min=1, help="Their facts are in it: the first of the split.")] = 1_000,
    passages: Annotated[int, typer.Option(min=1, help="Passages in all.")] = 50_000,
    mix: Annotated[str, typer.Option(help="Of graphmath, with options: search,hops=1.")] = "search",
    split: Annotated[str, typer.Option(help="train or test.")] = "test",
    seed: Annotated[int, typer.Option(min=0, help="Of the problems.")] = 0,
) -> None:
    """Write a corpus for problems of graphmath whose numbers are to be searched.

    Examples:

      python -m reasonflow.evals.tasks.corpus --out runs/corpus.jsonl --problems 1000 --passages 50000
    """
    source = parse_source(f"graphmath:{mix},split={split},seed={seed}")
    made = corpus(source, problems=problems, passages=passages)
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", encoding="utf-8") as file:
        file.writelines(lines(made))
    print(f"{len(made):,} passages: {out}", file=sys.stderr)


def cli() -> None:
    """The command, with this package's errors as plain messages."""
    run(main)


if __name__ == "__main__":
    cli()
