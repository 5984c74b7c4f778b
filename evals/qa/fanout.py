"""Loose and strict accuracy of FanOutQA: which of the strings of a structured gold answer are found in an answer.

Source: Zhu et al. 2024 (arXiv 2402.14116), section 4, and `fanoutqa/eval/string.py` of their package, with three
differences. Words are not lemmatised: that takes a spaCy model; hand theirs in as `normalise` for figures that compare.
A string may begin or end in a sign: theirs asks for a word there, so that no answer written `$1 billion` is ever found.
Of lists in lists each string counts once; theirs can count more missing ones than there are.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from reasonflow.errors import InputError

Normalise: TypeAlias = Callable[[str], str]

_QUOTES = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"'})
_WITH_COMMAS = re.compile(r"(?:\d+,)+\d+")
_PUNCTUATION = re.compile(r"[,.?!:;]")


@dataclass(frozen=True, slots=True)
class Found:
    """Which strings of a gold answer are in an answer."""

    total: int
    """Strings of the gold answer, one or more; those that occur twice count twice."""
    missing: tuple[str, ...]
    """Those that are not found, normalised."""

    @property
    def loose(self) -> float:
        """The share that is found, 0 to 1."""
        return (self.total - len(self.missing)) / self.total

    @property
    def strict(self) -> bool:
        """Whether all are found."""
        return not self.missing


def find(answer: str, gold: Any, normalise: Normalise | None = None) -> Found:
    """Look for each string of `gold`, an answer as JSON has it, as whole words of `answer`.

    normalise: applied to both; None: `normalised`. Raises InputError for a gold answer that holds no string.
    """
    plain = normalise or normalised
    text = plain(answer)
    strings = [plain(string) for string in gold_strings(gold)]
    if not strings:
        raise InputError(f"the gold answer {gold!r} holds nothing to find", fix="give an answer with a string or more")
    # Nothing is left of a string of punctuation; it would be found everywhere.
    return Found(len(strings), tuple(string for string in strings if not string or not _holds(text, string)))


def loose(answer: str, gold: Any, normalise: Normalise | None = None) -> float:
    """The share of the gold answer's strings that the answer holds, 0 to 1."""
    return find(answer, gold, normalise).loose


def strict(answer: str, gold: Any, normalise: Normalise | None = None) -> bool:
    """Whether the answer holds every string of the gold answer."""
    return find(answer, gold, normalise).strict


def gold_strings(gold: Any) -> list[str]:
    """What is looked for: keys and values of an object, items of a list, `yes` or `no` for a truth value."""
    if isinstance(gold, Mapping):
        keys = [string for key in gold for string in gold_strings(key)]
        return keys + [string for value in gold.values() for string in gold_strings(value)]
    if isinstance(gold, (list, tuple)):
        return [string for item in gold for string in gold_strings(item)]
    if isinstance(gold, bool):
        return ["yes" if gold else "no"]
    return [str(gold)]


def normalised(text: str) -> str:
    """In lower case, with straight quotes, no commas in numbers, none of `,.?!:;`, one space between words."""
    text = unicodedata.normalize("NFC", text).translate(_QUOTES).lower()
    text = _WITH_COMMAS.sub(lambda number: number[0].replace(",", ""), text)
    return " ".join(_PUNCTUATION.sub("", text).split())


def _holds(text: str, string: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(string)}(?!\w)", text) is not None
