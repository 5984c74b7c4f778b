"""Dense retrieval: the passages whose vectors have the highest inner products with the query's, exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from anyio import to_thread

from reasonflow.errors import InputError
from reasonflow.programs.retrieval.embedder import Embed, Embedder, own, sentence_transformer, vectors
from reasonflow.programs.retrieval.folder import Manifest, built, opened
from reasonflow.programs.retrieval.passages import Passage, with_score
from reasonflow.programs.retrieval.ranking import best, check_k
from reasonflow.programs.retrieval.sources import Source, digest, twice
from reasonflow.programs.retrieval.stored import Stored, store

OWN = "embed"
"""What an index calls a function of the user's that has no name of its own."""
_KIND = "dense"
_VECTORS = "vectors.npy"
_TOGETHER = 256
"""Passages that the embedder is handed at once."""
_BLOCK = 65_536
"""Vectors that are multiplied at once: with 1,024 dimensions a quarter of a gigabyte is read."""


class Dense:
    """An index on disk, mapped into memory. It is a retriever, and may be searched from several threads at once."""

    def __init__(self, data: Path, manifest: Manifest, embedder: Embedder) -> None:
        """Of the data of a finished index: use `build`, `open` or `of`."""
        np = _numpy()
        self._stored = Stored(data)
        self._vectors = np.load(data / _VECTORS, mmap_mode="r")
        self._embedder = embedder
        if not manifest.count == len(self._stored) == len(self._vectors):
            raise ValueError(f"its files do not hold the {manifest.count:,} passages that its manifest names")

    @classmethod
    def build(
        cls,
        source: Source,
        folder: str | Path | None = None,
        *,
        model: str | None = None,
        revision: str | None = None,
        embed: Embed | None = None,
    ) -> Dense:
        """Embed and index a source: a file of JSON lines, `Columns` of a dataset, passages, or rows in memory.

        folder: where the index stays; None for one that goes with this object. An index that is there is replaced when
        the new one is whole. A title stands in front of its text, on a line of its own.
        model: of sentence-transformers, a name on the hub or a folder, at a `revision`.
        embed: a function instead, texts -> array (texts, dimensions). With a `model` beside it, that is its name.
        Raises InputError for a source that is wrong, for a model that cannot be had, for vectors that are none, and for
        a folder that cannot be written.
        """
        embedder = _embedder(model, revision, embed)
        return built(folder, _KIND, _maker(source, embedder), _loader(embedder))

    @classmethod
    def open(cls, folder: str | Path, *, embed: Embed | None = None) -> Dense:
        """The index in a folder, with the model that its manifest names, or the function it was built with.

        Raises InputError where there is no index that is whole, and where the model cannot be had.
        """

        def load(data: Path, manifest: Manifest) -> Dense:
            name, revision = manifest.settings["model"], manifest.settings["revision"]
            if embed is None and name == OWN:
                raise InputError(
                    f"the index in {folder} was built with a function", why="none was given", fix="give it as embed="
                )
            return cls(data, manifest, _embedder(name, revision or None, embed))

        return opened(folder, _KIND, load)

    @classmethod
    def of(
        cls,
        source: Source,
        folder: str | Path,
        *,
        model: str | None = None,
        revision: str | None = None,
        embed: Embed | None = None,
    ) -> Dense:
        """The index in a folder where it is of this source and this model; else it is built there.

        To see that, the source is gone through once. A function is known by its name only: build anew when it changes,
        or give another `model`. Raises InputError as `build` does, and for an iterator.
        """
        embedder = _embedder(model, revision, embed)
        source = twice(source)

        def fits(manifest: Manifest) -> bool:
            return manifest.settings == embedder.settings and manifest.source == digest(source)

        return built(folder, _KIND, _maker(source, embedder), _loader(embedder), fits)

    def __len__(self) -> int:
        """Passages."""
        return len(self._stored)

    def __iter__(self) -> Iterator[Passage]:
        """All passages, in the order of the source."""
        return (self._stored[position] for position in range(len(self)))

    def find(self, query: str, k: int) -> tuple[Passage, ...]:
        """The k passages of the highest scores, of equal ones the first in the source; none for a blank query.

        Raises InputError for k below 1, and for vectors that are none.
        """
        np = _numpy()
        check_k(k)
        if not query.strip():
            return ()
        (wanted,) = vectors(self._embedder.queries, [query], self._vectors.shape[1])
        scores = np.empty(len(self), dtype=np.float32)
        for begin in range(0, len(self), _BLOCK):
            block = slice(begin, begin + _BLOCK)
            scores[block] = self._vectors[block] @ wanted
        return tuple(with_score(self._stored[position], scores[position]) for position in best(scores, k))

    async def search(self, query: str, k: int) -> Sequence[Passage]:
        """The same in a worker thread, so that queries run side by side."""
        return await to_thread.run_sync(self.find, query, k, abandon_on_cancel=True)


def _embedder(model: str | None, revision: str | None, embed: Embed | None) -> Embedder:
    if embed is not None:
        if revision is not None:
            raise InputError("a function has no revision", fix="give either embed or a revision")
        return own(embed, model or OWN)
    if model is None:
        raise InputError("nothing makes vectors", fix="give model=, a name of sentence-transformers, or embed=")
    return sentence_transformer(model, revision)


def _loader(embedder: Embedder) -> Callable[[Path, Manifest], Dense]:
    return lambda data, manifest: Dense(data, manifest, embedder)


def _maker(source: Source, embedder: Embedder) -> Callable[[Path], Manifest]:
    def make(data: Path) -> Manifest:
        np = _numpy()
        source_digest = store(source, data)
        stored = Stored(data)
        made: Any = None
        for begin in range(0, len(stored), _TOGETHER):
            end = min(begin + _TOGETHER, len(stored))
            texts = [_text(stored[position]) for position in range(begin, end)]
            found = vectors(embedder.documents, texts, None if made is None else made.shape[1])
            if made is None:
                shape = (len(stored), found.shape[1])
                made = np.lib.format.open_memmap(data / _VECTORS, mode="w+", dtype=np.float32, shape=shape)
            made[begin:end] = found
        made.flush()
        return Manifest(kind=_KIND, count=len(stored), source=source_digest, settings=embedder.settings)

    return make


def _text(passage: Passage) -> str:
    return f"{passage.title}\n{passage.text}" if passage.title else passage.text


def _numpy() -> Any:
    try:
        import numpy
    except ImportError as error:
        raise InputError(
            "Dense needs the package numpy", why=str(error), fix='pip install "reasonflow[dense]"'
        ) from error
    return numpy
