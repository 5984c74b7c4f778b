"""A prefix cache by blocks, as vLLM's works: what a prompt shares with earlier ones, and what is forgotten first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from reasonflow.backends.protocol import Tokens

ROOT = 0
"""The key in front of every first block."""


def block_keys(tokens: Tokens, size: int, before: int = ROOT) -> list[int]:
    """One key per full block. Each is hashed over everything in front of it; before: the key of what precedes."""
    keys = []
    for start in range(0, len(tokens) - size + 1, size):
        before = hash((before, tokens[start : start + size]))
        keys.append(before)
    return keys


class BlockCache:
    """Remembers full blocks of token sequences, least recently used forgotten first.

    A block counts as present only behind its whole prefix.
    """

    def __init__(self, block_size: int, capacity: int) -> None:
        self._block_size = block_size
        self._capacity = capacity
        self._blocks: OrderedDict[int, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._blocks)

    def hit_tokens(self, tokens: Sequence[int]) -> int:
        """Tokens at the front that are present. Never all of them: an engine must compute the last one anew."""
        hits = 0
        for key in self._keys(tokens[: len(tokens) - 1]):
            if key not in self._blocks:
                break
            hits += 1
        return hits * self._block_size

    def add(self, tokens: Sequence[int]) -> None:
        """Remember every full block of the sequence."""
        # From the back, so that a chain's end is forgotten before its beginning, which more prompts share.
        for key in reversed(self._keys(tokens)):
            self._blocks[key] = None
            self._blocks.move_to_end(key)
        while len(self._blocks) > self._capacity:
            self._blocks.popitem(last=False)

    def _keys(self, tokens: Sequence[int]) -> list[int]:
        return block_keys(tuple(tokens), self._block_size)
