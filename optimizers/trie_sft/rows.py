"""Tries side by side in rows, as the model reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from reasonflow.optimizers.trie_sft.trie import Flat


class Row(NamedTuple):
    """One row. The first three are (1, width), the last two (learned tokens,)."""

    tokens: Tensor
    positions: Tensor
    """Depth of each token in its trie."""
    exits: Tensor
    """Last place of each token's subtree in the row; of padding its own place."""
    parents: Tensor
    """Place from whose hidden state each learned token is predicted: its parent's, not that of the token in front."""
    labels: Tensor
    """The learned tokens."""

    def to(self, device: str) -> Row:
        """The same on another device."""
        return Row(*(part.to(device, non_blocking=True) for part in self))


def pack(tries: Sequence[Flat], width: int) -> list[list[Flat]]:
    """The tries in as few rows of at most `width` tokens as first fit, longest first, finds. Each must fit alone."""
    rows: list[list[Flat]] = []
    used: list[int] = []
    for trie in sorted(tries, key=len, reverse=True):
        assert len(trie) <= width, "longer ones are left out before"
        fitting = next((number for number, tokens in enumerate(used) if tokens + len(trie) <= width), None)
        if fitting is None:
            rows.append([trie])
            used.append(len(trie))
        else:
            rows[fitting].append(trie)
            used[fitting] += len(trie)
    return rows


def row_of(tries: Sequence[Flat], width: int | None = None) -> Row:
    """Tries in one row, padded to a width if one is given."""
    used = sum(map(len, tries))
    size = used if width is None else width
    tokens, positions, exits = np.zeros(size, np.int64), np.zeros(size, np.int64), np.arange(size)
    parents, labels = [], []
    start = 0
    for trie in tries:
        end = start + len(trie)
        tokens[start:end], positions[start:end], exits[start:end] = trie.tokens, trie.depth, trie.exit + start
        parents.append(trie.parent[trie.learned].astype(np.int64) + start)
        labels.append(trie.tokens[trie.learned].astype(np.int64))
        start = end
    wide = (torch.from_numpy(part)[None] for part in (tokens, positions, exits))
    return Row(*wide, *(torch.from_numpy(np.concatenate(parts)) for parts in (parents, labels)))
