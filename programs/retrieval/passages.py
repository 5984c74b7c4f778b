"""What a search finds."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

_LOOKED_AT = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """One piece of text that was found, or that may be."""

    id: str
    """Unique in its corpus."""
    title: str = ""
    text: str
    score: float = 0.0
    """Of the query that found it: higher is better, and only passages of one answer compare. 0 where nobody said."""


def content_id(title: str, text: str) -> str:
    """The id of a passage that has none: two of equal content have one id, whichever query found them.

    Of a page it looks at the length and the first characters: ten megabytes must not cost as much as the search.
    """
    told = f"{title[:_LOOKED_AT]}\0{len(text)}\0{text[:_LOOKED_AT]}"
    return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def with_score(passage: Passage, score: float) -> Passage:
    """The passage as one query found it."""
    return replace(passage, score=float(score))
