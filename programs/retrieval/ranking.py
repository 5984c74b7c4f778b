"""The best of many scores, in an order that equal scores do not shake."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reasonflow.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def best(scores: NDArray[np.floating[Any]], k: int) -> NDArray[np.intp]:
    """Positions of the k highest scores, the highest first; of equal ones the first."""
    import numpy as np  # not above: without it, BM25 and Dense say what to install

    if k >= len(scores):
        return np.argsort(-scores, kind="stable")
    bar = np.partition(scores, len(scores) - k)[len(scores) - k]
    candidates = np.flatnonzero(scores >= bar)
    return candidates[np.argsort(-scores[candidates], kind="stable")[:k]]


def check_k(k: int) -> None:
    """Raises InputError for a number below 1."""
    if k < 1:
        raise InputError(f"cannot search for {k} passages", fix="give a number from 1 up")
