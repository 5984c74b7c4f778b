"""The proof that a trie changes nothing: each unit's logits inside of it, and alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from reasonflow.optimizers.trie_sft.loss import hidden_states
from reasonflow.optimizers.trie_sft.rows import row_of
from reasonflow.optimizers.trie_sft.trie import Flat, flatten
from reasonflow.optimizers.trie_sft.units import Unit

TOLERANCE = 3e-4
"""Of logits in float32, a hundred-thousandth of the built-in model's largest: sums are taken in another order, and
rounded otherwise, where other places are masked."""


def paths(flat: Flat, units: Sequence[Unit]) -> list[list[int]]:
    """The places of each unit's tokens in the flat sequence. Raises KeyError for a unit that is no path of it."""
    child = {(parent, token): place for place, (parent, token) in enumerate(zip(*_ints(flat), strict=True))}
    found = []
    for unit in units:
        path: list[int] = []
        for token in unit.tokens:
            path.append(child[path[-1] if path else -1, token])
        found.append(path)
    return found


def largest_difference(model: Any, units: Sequence[Unit]) -> float:
    """Between the logits of every unit alone, as a plain causal sequence, and of the same tokens in the trie of all.

    model: a causal LM as `open_model` gives it. Alone it is asked as anybody asks it, without a mask or positions.
    """
    flat, device = flatten(units), str(model.device)
    largest = 0.0
    with torch.no_grad():
        together = model.lm_head(hidden_states(model, row_of([flat]).to(device)))
        for unit, path in zip(units, paths(flat, units), strict=True):
            alone = model(input_ids=torch.tensor([unit.tokens], device=device), use_cache=False).logits[0]
            largest = max(largest, float((together[path] - alone).abs().max()))
    return largest


def _ints(flat: Flat) -> tuple[list[int], list[int]]:
    return flat.parent.tolist(), flat.tokens.tolist()
