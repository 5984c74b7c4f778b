"""A training step recorded once and played back: a small model's step is bound by the launches of its kernels.

At 6.8 million parameters and 4 rows of 8,192 tokens an H100 took 1.0 to 1.45 million tokens a second before, 2.2 after.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from reasonflow.optimizers.training.packing import Rows


class Replayed:
    """A CUDA graph of `update`, which must have run before with the same sizes, on a stream of its own.

    update: makes no tensor's size or any branch depend on values, and reads settings that change, such as the learning
    rate, from tensors that stay where they are.
    """

    def __init__(self, update: Callable[[Rows], Tensor], rows: Rows) -> None:
        self._rows = Rows(*(part.clone() for part in rows))
        self._graph = torch.cuda.CUDAGraph()
        # Beside it, a thread pins the next rows in memory: that is no part of the recording, and must not spoil it.
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._loss = update(self._rows)

    def __call__(self, rows: Rows) -> Tensor:
        """The update with these rows; its loss."""
        for mine, part in zip(self._rows, rows, strict=True):
            mine.copy_(part, non_blocking=True)
        self._graph.replay()
        return self._loss.clone()
