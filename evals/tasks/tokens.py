"""The texts of the family as tokens: every digit is one, every word, every mark of the threaded form."""

from __future__ import annotations

import re

from reasonflow.evals.tasks.lexicon import LEXICONS
from reasonflow.evals.tasks.wording import TEMPLATES

MARKS = ("Parallel", "Outlines", "Outline", "Thread")
BOX = "\\boxed{"
_TOKEN = re.compile(r"\d|[A-Za-z]+|</?[A-Za-z]+>|\\boxed\{|<=|\n|[^\sA-Za-z\d]")


def split(text: str) -> list[str]:
    """The tokens in order. Spaces are none: they stand between words and signs, never inside a number."""
    return _TOKEN.findall(text)


def spans(text: str) -> list[tuple[int, int]]:
    """Where each token begins and ends in the text."""
    return [match.span() for match in _TOKEN.finditer(text)]


def count(text: str) -> int:
    """How many tokens."""
    return len(split(text))


def vocabulary() -> tuple[str, ...]:
    """Every token that a problem or a solution can hold, sorted."""
    found = {*"0123456789", *"+-*/%=:,.?}\n", "<=", BOX, "rest", "holds", "fails", "Yes", "No"}
    found |= {f"<{mark}>" for mark in MARKS} | {f"</{mark}>" for mark in MARKS}
    for lexicon in LEXICONS.values():
        found |= {*lexicon.firsts, *lexicon.seconds}
    for every in TEMPLATES.values():
        for template in every:
            found |= set(split(re.sub(r"\{\d\}", " ", template)))
    return tuple(sorted(found))
