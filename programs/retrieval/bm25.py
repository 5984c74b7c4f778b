"""BM25: passages by the words that they share with a query, exact and without a model.

Robertson et al., Okapi at TREC-3 (1994), in the form of Lucene, which never scores a word below zero (Kamphuis et al.,
ECIR 2020). The library bm25s computes all scores when the index is built (Lù 2024, arXiv:2407.03618), so that a search
only adds up.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from anyio import to_thread

from reasonflow.errors import InputError
from reasonflow.programs.retrieval.folder import Manifest, built, opened
from reasonflow.programs.retrieval.passages import Passage, with_score
from reasonflow.programs.retrieval.ranking import best, check_k
from reasonflow.programs.retrieval.sources import Source, digest, twice
from reasonflow.programs.retrieval.stored import Stored, store
from reasonflow.programs.retrieval.words import words

K1 = 1.2
"""How soon a word that is repeated counts no more: Lucene's, and as good as 0.9 and 1.5 on the questions of `words`."""
B = 0.75
"""How much a long passage must say more: Lucene's."""
_KIND = "bm25"


class BM25:
    """An index on disk, mapped into memory. It is a retriever, and may be searched from several threads at once."""

    def __init__(self, data: Path, manifest: Manifest) -> None:
        """Of the data of a finished index: use `build`, `open` or `of`."""
        self._index = _library().BM25.load(data, mmap=True)
        self._stored = Stored(data)
        self.digest = manifest.source
        """Of all passages, in order."""
        if len(self._stored) != manifest.count:
            raise ValueError(f"it holds {len(self._stored):,} passages, and its manifest says {manifest.count:,}")

    @classmethod
    def build(
        cls,
        source: Source,
        folder: str | Path | None = None,
        *,
        k1: float = K1,
        b: float = B,
        stopwords: Iterable[str] = (),
    ) -> BM25:
        """Index a source: a file of JSON lines, `Columns` of a dataset, passages, or rows in memory.

        folder: where the index stays; None for one that goes with this object. An index that is there is replaced when
        the new one is whole. A title counts as text. A million passages of 60 words take a minute and 3 GiB of memory.
        stopwords: words that count neither in a passage nor in a query, in any case.
        Raises InputError for a source that is wrong, for settings that make no sense, and for a folder that cannot be
        written.
        """
        settings = _settings(k1, b, stopwords)
        return built(folder, _KIND, _maker(source, settings), cls)

    @classmethod
    def open(cls, folder: str | Path) -> BM25:
        """The index in a folder. Raises InputError where there is none that is whole."""
        return opened(folder, _KIND, cls)

    @classmethod
    def of(
        cls,
        source: Source,
        folder: str | Path,
        *,
        k1: float = K1,
        b: float = B,
        stopwords: Iterable[str] = (),
    ) -> BM25:
        """The index in a folder where it is of this source and these settings; else it is built there.

        To see that, the source is gone through once: a million passages take seconds. Raises InputError as `build`
        does, and for an iterator, which can be gone through once only.
        """
        settings = _settings(k1, b, stopwords)
        source = twice(source)

        def fits(manifest: Manifest) -> bool:
            return manifest.settings == settings and manifest.source == digest(source)

        return built(folder, _KIND, _maker(source, settings), cls, fits)

    def __len__(self) -> int:
        """Passages."""
        return len(self._stored)

    def __iter__(self) -> Iterator[Passage]:
        """All passages, in the order of the source."""
        return (self._stored[position] for position in range(len(self)))

    def find(self, query: str, k: int) -> tuple[Passage, ...]:
        """The passages of the highest scores, of equal ones the first in the source; only such that share a word.

        Empty for a query without a word that the index knows. Raises InputError for k below 1.
        """
        check_k(k)
        known = self._index.vocab_dict
        ids = [known[word] for word in words(query) if word in known]
        if not ids:
            return ()
        scores = self._index.get_scores_from_ids(ids)
        return tuple(
            with_score(self._stored[position], scores[position]) for position in best(scores, k) if scores[position] > 0
        )

    async def search(self, query: str, k: int) -> Sequence[Passage]:
        """The same in a worker thread, so that queries run side by side."""
        return await to_thread.run_sync(self.find, query, k, abandon_on_cancel=True)


def _settings(k1: float, b: float, stopwords: Iterable[str]) -> dict[str, Any]:
    if not k1 >= 0 or not 0 <= b <= 1:
        raise InputError(f"BM25 with k1={k1} and b={b}", fix="give k1 from 0 up, and b from 0 to 1")
    if isinstance(stopwords, str):
        raise InputError(f"the stop words are one text of {len(stopwords)} characters", fix="give a list of words")
    return {"k1": float(k1), "b": float(b), "stopwords": sorted({word.lower() for word in stopwords})}


def _maker(source: Source, settings: dict[str, Any]) -> Callable[[Path], Manifest]:
    def make(data: Path) -> Manifest:
        library = _library()
        vocabulary: dict[str, int] = {}
        left_out = frozenset(settings["stopwords"])
        passages: list[list[int]] = []

        def count(passage: Passage) -> None:
            found = words(f"{passage.title}\n{passage.text}")
            passages.append([vocabulary.setdefault(word, len(vocabulary)) for word in found if word not in left_out])

        source_digest = store(source, data, count)
        if not vocabulary:
            raise InputError(
                "no passage has a word", why="only letters and digits make words", fix="give passages with text"
            )
        index = library.BM25(k1=settings["k1"], b=settings["b"], method="lucene", backend="numpy")
        # Its `index` does the same and logs at the level of debugging to whoever listens.
        index.scores = index.build_index_from_ids(range(len(vocabulary)), passages, show_progress=False)
        index.vocab_dict = vocabulary
        index.save(data)
        return Manifest(kind=_KIND, count=len(passages), source=source_digest, settings=settings)

    return make


def _library() -> Any:
    try:
        with _without_jax():
            import bm25s
    except ImportError as error:
        raise InputError(
            "BM25 needs the package bm25s", why=str(error), fix='pip install "reasonflow[search]"'
        ) from error
    return bm25s


@contextmanager
def _without_jax() -> Iterator[None]:
    """bm25s starts JAX where it is installed, which takes three quarters of a GPU's memory from the engine."""
    if {"jax", "bm25s"} & sys.modules.keys():
        yield
        return
    sys.modules["jax"] = None  # type: ignore[assignment]  # this makes an import fail
    try:
        yield
    finally:
        del sys.modules["jax"]
