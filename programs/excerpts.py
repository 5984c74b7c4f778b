"""What of a long page is read: the surroundings of its best sentence (HybridDeepSearcher, arXiv 2508.19113)."""

from __future__ import annotations

import re
from collections import Counter

SCANNED = 50_000
"""Characters of a page that are looked at."""
AROUND = 1_024
"""Characters kept on each side of the sentence."""
KEPT = 8_000
"""Characters of a page without such a sentence."""
_FITS = 0.2
"""F1 from which on a sentence is about what is looked for."""
_SENTENCE = re.compile(r"[^.!?\n]+[.!?\n]*")
_WORD = re.compile(r"\w+")


def excerpt(page: str, sought: str) -> str:
    """Of a page longer than KEPT the surroundings of the sentence with most words in common; of others all.

    sought: the query. The released script compares with the snippet that its search engine gives.
    """
    if len(page) <= KEPT:
        return page
    scanned, words = page[:SCANNED], Counter(_WORD.findall(sought.lower()))
    best, place = 0.0, None
    for sentence in _SENTENCE.finditer(scanned):
        fits = _f1(Counter(_WORD.findall(sentence.group().lower())), words)
        if fits > best:
            best, place = fits, sentence.span()
    if place is None or best <= _FITS:
        return scanned[:KEPT]
    return scanned[max(0, place[0] - AROUND) : place[1] + AROUND]


def _f1(one: Counter[str], other: Counter[str]) -> float:
    common = (one & other).total()
    return 2 * common / (one.total() + other.total()) if common else 0.0
