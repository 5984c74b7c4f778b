"""Exact match and token F1 of short answers, as SQuAD and HotpotQA count them.

Case, articles, punctuation and spacing say nothing; of several gold answers the best counts.
Source: Rajpurkar et al. 2016 (arXiv 1606.05250), section 6.1; Yang et al. 2018 (arXiv 1809.09600), evaluation script.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

from reasonflow.errors import InputError

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_CLOSED = frozenset({"yes", "no", "noanswer"})
"""HotpotQA's answers that are right as a whole or not at all: `no` shares a token with `no one`."""


def normalised(text: str) -> str:
    """In lower case, without ASCII punctuation and articles, one space between words.

    Punctuation goes first, and decimal points with it: 3.5 and 35 are one answer, as they are to the official scripts.
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str, golds: str | Sequence[str]) -> bool:
    """Whether the answer is one of the gold answers, normalised. Raises InputError without a gold answer."""
    return any(_equal(answer, gold) for gold in each(golds))


def f1(answer: str, golds: str | Sequence[str]) -> float:
    """Overlap of the answer's words with those of the gold answer that it meets best, 0 to 1.

    The harmonic mean of precision and recall over multisets of words. `yes` and `no` meet only themselves, as in
    HotpotQA. Raises InputError without a gold answer.
    """
    return max(_f1(answer, gold) for gold in each(golds))


def contains(answer: str, golds: str | Sequence[str]) -> bool:
    """Whether the words of a gold answer stand side by side in the answer. Raises InputError without a gold answer.

    Whole words: `no` is not in `November`. Source: `has_answer` of Chen et al. 2017 (arXiv 1704.00051), over SQuAD's
    words.
    """
    return any(_contains(answer, gold) for gold in each(golds))


def each(golds: str | Sequence[str]) -> Sequence[str]:
    """One gold answer or several, as several. Raises InputError for none."""
    if not golds:
        raise InputError("there is no gold answer to compare with", fix="give one gold answer or more")
    return (golds,) if isinstance(golds, str) else golds


def overlap(answer: Sequence[str], gold: Sequence[str]) -> float:
    """F1 of two multisets of tokens, 0 to 1; 0 where they share none."""
    shared = sum((Counter(answer) & Counter(gold)).values())
    # Of whole numbers, so that equal multisets give 1 and not its neighbour.
    return 2 * shared / (len(answer) + len(gold)) if shared else 0.0


def _equal(answer: str, gold: str) -> bool:
    words = normalised(gold)
    # The official scripts call every answer without words equal to every gold answer without words: `!!!` and `The`.
    return normalised(answer) == words if words else answer.strip().lower() == gold.strip().lower()


def _f1(answer: str, gold: str) -> float:
    found, wanted = normalised(answer), normalised(gold)
    if not wanted or not _CLOSED.isdisjoint((found, wanted)):
        return float(_equal(answer, gold))
    return overlap(found.split(), wanted.split())


def _contains(answer: str, gold: str) -> bool:
    wanted = normalised(gold)
    return f" {wanted} " in f" {normalised(answer)} " if wanted else gold.strip().lower() in answer.lower()
