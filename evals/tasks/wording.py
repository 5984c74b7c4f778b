"""Problems in words: sentence templates, and which of them a split may use about which name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from random import Random

from reasonflow.evals.tasks.chance import shuffle
from reasonflow.evals.tasks.graph import Graph
from reasonflow.evals.tasks.splits import held_out

TEMPLATES: Mapping[str, tuple[str, ...]] = {
    # {0} is the name the sentence is about, {1} and {2} the operands.
    "given": (
        "There are {1} {0}.",
        "We counted {1} {0}.",
        "The number of {0} is {1}.",
        "Somebody left {1} {0} here.",
        "Of the {0} there are {1}.",
    ),
    # {1} is a house.
    "elsewhere": (
        "There are as many {0} as house {1} has.",
        "The number of {0} is that of house {1}.",
        "We counted the {0} in house {1}.",
        "The {0} are as many as those of house {1}.",
    ),
    "+ number": (
        "There are {2} more {0} than {1}.",
        "The {0} are as many as the {1} and {2} more.",
        "Add {2} to the {1}: so many are the {0}.",
        "The {0} outnumber the {1} by {2}.",
    ),
    "- number": (
        "There are {2} fewer {0} than {1}.",
        "The {0} are as many as the {1} with {2} gone.",
        "Take {2} from the {1}: so many are the {0}.",
        "The {0} fall short of the {1} by {2}.",
    ),
    "* number": (
        "There are {2} times as many {0} as {1}.",
        "For each of the {1} there are {2} {0}.",
        "Count the {1} {2} times over: so many are the {0}.",
        "The {0} are as many as the {1} taken {2} times.",
    ),
    "/ number": (
        "The {1} are {2} times as many as the {0}.",
        "Share the {1} among {2}: each share is as many as the {0}.",
        "One of the {0} stands for every {2} of the {1}.",
        "The {0} are as many as the {1} divided by {2}.",
    ),
    "+ name": (
        "The {0} are as many as the {1} and the {2} together.",
        "Put the {1} beside the {2}: so many are the {0}.",
        "There are as many {0} as {1} plus {2}.",
        "Adding the {1} to the {2} gives the number of {0}.",
    ),
    "- name": (
        "The {0} are as many as the {1} without the number of {2}.",
        "From the number of {1} take that of the {2}: so many are the {0}.",
        "There are as many {0} as {1} minus {2}.",
        "The {0} and the {2} together are as many as the {1}.",
    ),
    "asked": (
        "How many {0} are there?",
        "Find the number of {0}.",
        "What is the count of the {0}?",
        "So how many {0} are there in all?",
    ),
    # Of constraints.
    "range": (
        "There are at least {1} and at most {2} {0}.",
        "The number of {0} lies from {1} to {2}.",
        "Nobody saw fewer than {1} or more than {2} {0}.",
    ),
    "rest": (
        "In rows of {1} the {0} leave {2} over.",
        "Dividing the {0} by {1} leaves {2}.",
        "Pack the {0} by {1} and {2} remain.",
    ),
    "total": (
        "The {0} and the {1} together are {2}.",
        "There are {2} {0} and {1} in all.",
        "Counting the {0} with the {1} gives {2}.",
    ),
    "more": (
        "The {0} are {2} more than the {1}.",
        "Beside the {1} there are {2} extra {0}.",
        "The {1} would need {2} more to match the {0}.",
    ),
}


_KINDS = {sign: (f"{sign} name", f"{sign} number") for sign in "+-*/"}


@cache  # at most kinds × names of all lexicons × 2
def templates(kind: str, name: str, held: bool) -> tuple[str, ...]:
    """The templates for a sentence about this name: the one that is held out for the test split, or all others."""
    every = TEMPLATES[kind]
    index = held_out(kind, name, len(every))
    return (every[index],) if held else every[:index] + every[index + 1 :]


def sentence(kind: str, name: str, others: Iterable[object], random: Random, held: bool) -> str:
    """One sentence about a name."""
    choices = templates(kind, name, held)
    return choices[int(random.random() * len(choices))].format(name, *others)


def describe(
    graph: Graph, random: Random, *, held: bool, shuffled: bool, houses: Mapping[str, int] | None = None
) -> str:
    """The problem in words: a sentence for each quantity, and the question.

    held: with the templates that the test split keeps for itself. houses: of given quantities whose numbers are left
    out, the house where each stands.
    """
    sentences = []
    draw = random.random
    for name, sign, operands, _, _, _ in graph.quantities:  # `sentence`, written out: it is most of the work
        kind = _KINDS[sign][type(operands[1]) is int] if sign else "given"
        if houses and name in houses:
            kind, operands = "elsewhere", (houses[name],)
        choices = templates(kind, name, held)
        sentences.append(choices[int(draw() * len(choices))].format(name, *operands))
    return assemble(sentences, graph.asked, random, held=held, shuffled=shuffled)


def assemble(sentences: list[str], asked: str, random: Random, *, held: bool, shuffled: bool) -> str:
    """The sentences, in random order where `shuffled`, and the question behind them."""
    if shuffled:
        shuffle(random, sentences)
    return " ".join([*sentences, sentence("asked", asked, (), random, held)])
