"""Drafts of real problems, right and wrong and cut, for laws that hold for all of them."""

from __future__ import annotations

from functools import lru_cache
from random import Random

from reasonflow.evals.curriculum.mistakes import cut, mistaken
from reasonflow.evals.tasks import tokens
from reasonflow.evals.tasks.graph import Graph
from reasonflow.evals.tasks.problems import Item, item, parse_source

GRAPHS = ("mid", "hard", "breadth", "length", "noise")


@lru_cache(maxsize=512)
def problem(mix: str, index: int) -> Item:
    """A training problem."""
    return item(parse_source(f"graphmath:{mix},split=train"), index)


def graph_of(found: Item) -> Graph:
    """Its graph."""
    assert isinstance(found.content, Graph)
    return found.content


def drafts_of(found: Item, random: Random, count: int, *, rate: float = 0.6) -> list[str]:
    """So many drafts, of which this share has mistakes; of a problem of `length` each is cut somewhere."""
    made = [
        mistaken(found.content, random, 1 + int(random.random() * 3))
        if random.random() < rate
        else found.solution(random)
        for _ in range(count)
    ]
    if ":length" not in found.address:
        return made
    return [cut(draft, int(tokens.count(draft) * (0.1 + 0.8 * random.random()))) for draft in made]
