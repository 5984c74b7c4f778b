"""Which tokens see which: themselves and their ancestors in the trie.

A token is entered at its place in the row, so that places are entry times that no two tries of a row share: of several
tries packed side by side, none sees another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

FLEX = "trie_flex"
"""Name under which transformers finds `_attend`."""


def sees(exits: Tensor) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """The rule as FlexAttention asks for it: (row, head, query, key) to a truth value.

    exits: (rows, width), the last place of each token's subtree, in its row; padding has its own place.
    """

    def rule(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        del head
        return (key <= query) & (query <= exits[row, key])

    return rule


def block_mask(exits: Tensor, *, compiled: bool = True) -> Any:
    """For FlexAttention, which skips blocks in which nothing is seen. exits: as in `sees`."""
    from torch.nn.attention.flex_attention import create_block_mask

    rows, width = exits.shape
    return create_block_mask(sees(exits), rows, None, width, width, device=exits.device.type, _compile=compiled)


def dense_mask(exits: Tensor) -> Tensor:
    """The same as a table of truth values, (rows, 1, width, width), for a processor. exits: as in `sees`."""
    places = torch.arange(exits.shape[1], device=exits.device)
    query, key = places[:, None], places[None, :]
    return ((key <= query) & (query <= exits[:, None, :]))[:, None]


def register() -> None:
    """Make FLEX known to transformers."""
    from transformers import AttentionInterface

    AttentionInterface.register(FLEX, _attend)


def _attend(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, **options: Any) -> Any:
    """FlexAttention on numbers of one kind: under autocast the norms of Qwen3's queries and keys give float32, beside
    values in bfloat16."""
    from transformers.integrations.flex_attention import flex_attention_forward

    return flex_attention_forward(module, query.to(value.dtype), key.to(value.dtype), value, mask, **options)
