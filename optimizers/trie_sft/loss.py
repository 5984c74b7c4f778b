"""Cross-entropy over a trie: each learned token is predicted from the hidden state of its parent.

The token in front of it in the flat sequence may be the end of another branch, which it does not see.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from reasonflow.optimizers.trie_sft.attention import FLEX, block_mask, dense_mask
from reasonflow.optimizers.trie_sft.rows import Row

_AT_ONCE = 2048
"""Tokens whose logits are in memory together: of 150,000 words in float32 they are 1.2 GB."""


def hidden_states(model: Any, row: Row) -> Tensor:
    """(width, hidden) of a row, each token having seen its ancestors. model: a causal LM, its row on its device."""
    flexible, on_gpu = model.config._attn_implementation == FLEX, row.tokens.device.type == "cuda"
    mask = block_mask(row.exits, compiled=on_gpu) if flexible else dense_mask(row.exits)
    hidden: Tensor = model.model(
        input_ids=row.tokens, attention_mask=mask, position_ids=row.positions, use_cache=False
    ).last_hidden_state
    return hidden[0]


def summed_loss(model: Any, row: Row) -> Tensor:
    """The sum of the cross-entropy of the learned tokens; the mean is it over len(row.labels)."""
    chosen = hidden_states(model, row)[row.parents]
    total = chosen.new_zeros((), dtype=torch.float32)
    for some, labels in zip(chosen.split(_AT_ONCE), row.labels.split(_AT_ONCE), strict=True):
        total = total + checkpoint(_piece, model.lm_head, some, labels, use_reentrant=False)
    return total


def _piece(head: Any, hidden: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(head(hidden).float(), labels, reduction="sum")
