"""A retriever by its path: the only form in which a program that searches can be saved."""

from __future__ import annotations

from pathlib import Path

from reasonflow.programs.retrieval.bm25 import BM25


def by_path(retriever: object) -> object:
    """The index that a path stands for; anything else as it is. Raises InputError for a path that leads to none.

    A folder is an index that `BM25.build` has made. A file of JSON lines is indexed beside it, in FILE.index, and only
    once.
    """
    if not isinstance(retriever, (str, Path)):
        return retriever
    path = Path(retriever)
    return BM25.open(path) if path.is_dir() else BM25.of(path, path.with_name(f"{path.name}.index"))
