"""How much of the annotated evidence was retrieved: coverage of pages and passages, recall at k by hop."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

from reasonflow.errors import InputError
from reasonflow.evals.evidence import Evidence


def title_key(title: str) -> str:
    """What makes two spellings of a page's title one: case, spacing, underscores, composed or decomposed letters."""
    return " ".join(unicodedata.normalize("NFKC", title).casefold().replace("_", " ").split())


def evidence_coverage(retrieved: Iterable[str], evidence: Evidence) -> float | None:
    """The share of the annotated pages that were retrieved, 0 to 1; None where none is annotated.

    retrieved: titles, in any order, also several times.
    """
    return _share({title_key(title) for title in evidence.titles}, set(map(title_key, retrieved)))


def passage_coverage(retrieved: Iterable[str], evidence: Evidence) -> float | None:
    """The share of the supporting passages that were retrieved, 0 to 1; None where none is annotated.

    retrieved: texts. A passage counts where one of them holds the whole of it, whatever stands around it.
    """
    texts = [_plain(text) for text in retrieved]
    found = [any(_plain(passage.text) in text for text in texts) for passage in evidence.supporting]
    return sum(found) / len(found) if found else None


def recall_at(ranking: Sequence[str], wanted: Iterable[str], k: int) -> float | None:
    """The share of the wanted titles among the first `k` of a ranking, 0 to 1; None where nothing is wanted.

    Raises InputError for k below 1.
    """
    return _share(set(map(title_key, wanted)), _first(ranking, k))


def recall_by_hop(rankings: Sequence[Sequence[str]], evidence: Evidence, k: int) -> tuple[float, ...]:
    """Of each hop: the share of its titles among the first `k` results of any search, 0 to 1.

    rankings: titles, best first, one list a search. Raises InputError for k below 1.
    """
    found = {title for ranking in rankings for title in _first(ranking, k)}
    shares = (_share(set(map(title_key, titles)), found) for titles in evidence.by_hop)
    return tuple(share for share in shares if share is not None)


def mean_by_hop(recalls: Iterable[Sequence[float]]) -> tuple[float, ...]:
    """The mean of each hop over problems; one with fewer hops is left out of the later ones."""
    by_hop: list[list[float]] = []
    for recall in recalls:
        by_hop.extend([] for _ in range(len(recall) - len(by_hop)))
        for hop, share in enumerate(recall):
            by_hop[hop].append(share)
    return tuple(sum(shares) / len(shares) for shares in by_hop)


def _first(ranking: Sequence[str], k: int) -> set[str]:
    if k < 1:
        raise InputError(f"recall at k={k} looks at no result", fix="use a k of at least 1")
    return set(map(title_key, ranking[:k]))


def _share(wanted: set[str], found: set[str]) -> float | None:
    return len(wanted & found) / len(wanted) if wanted else None


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
