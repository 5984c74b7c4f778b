"""What turns texts into vectors: a sentence-transformers model, or a function of the user's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from reasonflow.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors: TypeAlias = NDArray[np.float32]

Embed: TypeAlias = "Callable[[Sequence[str]], Any]"
"""Texts -> (texts, dimensions), floating point numbers. Called from several threads at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedder:
    """One model, with what tells it from others."""

    name: str
    revision: str
    """Of the model's files; empty where nobody said."""
    documents: Embed
    queries: Embed
    """Many models are trained with another prompt in front of queries."""

    @property
    def settings(self) -> dict[str, str]:
        """What an index must have been built with to be searched with it."""
        return {"model": self.name, "revision": self.revision}


def own(embed: Embed, name: str) -> Embedder:
    """The user's function, for passages and queries alike. name: what an index remembers of it."""
    if not callable(embed):
        raise InputError(
            f"embed is a {type(embed).__name__}", fix="give a function: texts -> array (texts, dimensions)"
        )
    return Embedder(name=name, revision="", documents=embed, queries=embed)


def sentence_transformer(model: str, revision: str | None = None) -> Embedder:
    """A model by its name on the Hugging Face hub, or its folder; its vectors have length 1.

    revision: a commit, branch or tag; None: the newest that can be had. The commit that was loaded is remembered, where
    the model says it. Raises InputError where the package is missing, or the model cannot be loaded.
    """
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise InputError(
            f"the model {model!r} needs the package sentence-transformers",
            why=str(error),
            fix='pip install "reasonflow[dense]", or give a function as embed=',
        ) from error
    try:
        loaded = SentenceTransformer(model, revision=revision)
    except Exception as error:  # network, hub and file errors of several libraries share no base class
        raise InputError(
            f"the model {model!r} cannot be loaded",
            why=f"{type(error).__name__}: {error}"[:300],
            fix="check its name and the connection to the Hugging Face hub, or name a folder that holds it",
        ) from error
    config = getattr(getattr(loaded[0], "auto_model", None), "config", None)
    commit = getattr(config, "_commit_hash", None) or revision or ""

    def documents(texts: Sequence[str]) -> Any:
        return loaded.encode_document(list(texts), normalize_embeddings=True, show_progress_bar=False)

    def queries(texts: Sequence[str]) -> Any:
        return loaded.encode_query(list(texts), normalize_embeddings=True, show_progress_bar=False)

    return Embedder(name=model, revision=commit, documents=documents, queries=queries)


def vectors(embed: Embed, texts: Sequence[str], dimensions: int | None = None) -> Vectors:
    """(texts, dimensions), float32. Raises InputError where the function gave something else."""
    import numpy as np  # not above: it comes with the extra

    given = embed(texts)
    try:
        found = np.asarray(given, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"the embedder returned a {type(given).__name__} that is no array", why=str(error), fix="return numbers"
        ) from error
    if found.ndim != 2 or len(found) != len(texts) or found.shape[1] != (dimensions or max(found.shape[1], 1)):
        wanted = f"({len(texts)}, {dimensions or 'dimensions'})"
        raise InputError(
            f"the embedder returned an array of the shape {found.shape} for {len(texts)} texts",
            why=f"it should be {wanted}",
            fix="return one vector for each text, all of one length",
        )
    if not np.isfinite(found).all():
        raise InputError("the embedder returned numbers that are not finite", fix="look at its texts and its precision")
    return found
