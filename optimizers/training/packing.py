"""Documents side by side in rows of one width, so that no step computes padding; and the processes that make them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from reasonflow.errors import InputError
from reasonflow.optimizers.training.examples import Curriculum, Encoded

IGNORED = -100
"""Label of a place whose prediction does not count."""
_OPEN = 6
"""Rows that are filled at once: the more, the less padding."""
_TOO_LONG = 1_000
"""Documents one after the other that may be too long for a row."""


class Rows(NamedTuple):
    """Rows of packed documents, each (rows, width)."""

    tokens: Any
    labels: Any
    """The token to predict at each place: the next one of the same document, or IGNORED."""
    weights: Any
    """How much the prediction at each place counts in the loss; 0 where it does not."""
    positions: Any
    """From 0 in each document."""
    documents: Any
    """Which document a place belongs to, from 0 in each row; padding is a document of its own."""


class Row:
    """One row while it fills."""

    def __init__(self, width: int, evened: float = 0.0) -> None:
        """evened: as `Train.evened`."""
        self.tokens: NDArray[np.int32] = np.zeros(width, np.int32)
        self.labels: NDArray[np.int32] = np.full(width, IGNORED, np.int32)
        self.weights: NDArray[np.float32] = np.zeros(width, np.float32)
        self.positions: NDArray[np.int32] = np.zeros(width, np.int32)
        self.documents: NDArray[np.int32] = np.zeros(width, np.int32)
        self.used, self.count, self.width, self.evened = 0, 0, width, evened

    @property
    def room(self) -> int:
        """Places that are free."""
        return self.width - self.used

    def add(self, document: Encoded) -> None:
        """Append a document that fits."""
        size, start = len(document.tokens), self.used
        self.tokens[start : start + size] = document.tokens
        self.positions[start : start + size] = np.arange(size, dtype=np.int32)
        self.documents[start : start + size] = self.count
        spans = [(max(first, 1), last) for first, last in document.learned]  # nothing stands before the first token
        weight = float(max(1, sum(last - first for first, last in spans)) ** -self.evened)
        for first, last in spans:
            self.labels[start + first - 1 : start + last - 1] = self.tokens[start + first : start + last]
            self.weights[start + first - 1 : start + last - 1] = weight
        self.used, self.count = start + size, self.count + 1

    def closed(self) -> Rows:
        """The row with its padding marked."""
        self.documents[self.used :] = self.count
        return Rows(self.tokens, self.labels, self.weights, self.positions, self.documents)


def pack(documents: Iterator[Encoded], width: int, evened: float = 0.0) -> Iterator[Rows]:
    """Full rows, each document whole and once, in the fullest open row that has room; too long ones are left out.

    evened: as `Train.evened`. Raises InputError where nothing else comes: an endless stream would be searched for ever.
    """
    rows: list[Row] = []
    refused = 0
    for document in documents:
        size = len(document.tokens)
        if size > width:
            refused += 1
            if refused == _TOO_LONG:
                raise InputError(
                    f"{refused} documents in a row do not fit a row of {width} tokens",
                    why=f"the last one has {size}",
                    fix="train on wider rows",
                )
            continue
        refused = 0
        fitting = [row for row in rows if row.room >= size]
        if not fitting:
            if len(rows) == _OPEN:
                fullest = min(rows, key=lambda row: row.room)
                rows.remove(fullest)
                yield fullest.closed()
            fitting = [Row(width, evened)]
            rows += fitting
        min(fitting, key=lambda row: row.room).add(document)
    for row in rows:
        yield row.closed()


class _Stream(IterableDataset[Rows]):
    def __init__(
        self, curriculum: Curriculum, stage: str, seed: int, width: int, drafts: Path | None, evened: float
    ) -> None:
        self.curriculum, self.stage, self.seed, self.width, self.drafts = curriculum, stage, seed, width, drafts
        self.evened = evened

    def __iter__(self) -> Iterator[Rows]:
        worker = get_worker_info()
        seed = 1000 * self.seed + (worker.id if worker is not None else 0)
        torch.set_num_threads(1)
        return pack(self.curriculum.examples(self.stage, seed, self.drafts), self.width, self.evened)


def batches(
    curriculum: Curriculum,
    stage: str,
    *,
    seed: int,
    rows: int,
    width: int,
    workers: int,
    drafts: Path | None = None,
    evened: float = 0.0,
) -> Iterator[Rows]:
    """Endless batches of tensors, made in `workers` processes beside this one; 0: in this one.

    seed: of the stage and of how often it was resumed, below a million; equal ones give equal rows. evened: as
        `Train.evened`.
    """
    stream = _Stream(curriculum, stage, seed, width, drafts, evened)
    options: dict[str, Any] = {"prefetch_factor": 4, "persistent_workers": True} if workers else {}
    loader: DataLoader[Rows] = DataLoader(
        stream,
        batch_size=rows,
        num_workers=workers,
        collate_fn=_together,
        pin_memory=torch.cuda.is_available(),
        **options,
    )
    return iter(loader)


def _together(rows: list[Rows]) -> Rows:
    return Rows(*(torch.from_numpy(np.stack(parts)) for parts in zip(*rows, strict=True)))
