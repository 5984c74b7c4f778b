"""Which tokens see which: those before them in the same document."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def block_mask(documents: Tensor, *, compiled: bool = True) -> Any:
    """For FlexAttention, which skips whole blocks between documents. documents: (rows, width)."""
    from torch.nn.attention.flex_attention import create_block_mask

    def sees(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        del head
        return (query >= key) & (documents[row, query] == documents[row, key])

    rows, width = documents.shape
    device = documents.device.type
    return create_block_mask(sees, rows, None, width, width, device=device, _compile=compiled)


def dense_mask(documents: Tensor) -> Tensor:
    """The same as a table of truth values, (rows, 1, width, width), for a processor."""
    width = documents.shape[1]
    before = torch.ones(width, width, dtype=torch.bool, device=documents.device).tril()
    return (before & (documents[:, :, None] == documents[:, None, :]))[:, None]
