"""Sequences that begin alike, as one: a trie of tokens, flattened depth first.

A token's position is its depth, and it may see its ancestors: so every path from a root is the causal sequence that
the engine will read (arXiv 2512.07843, the section on trie-based training).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reasonflow.optimizers.trie_sft.units import Unit

Ids = NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Flat:
    """A trie in one sequence: parents before children, children in the order in which they came. Arrays of one length.

    It takes 17 bytes a token.
    """

    tokens: Ids
    parent: Ids
    """Place of the token before it on its path; -1 for a root."""
    depth: Ids
    """How many tokens stand before it on its path: its position for the model."""
    exit: Ids
    """The last place of its subtree. It is entered at its own place, so that `j` is an ancestor of `i`, or `i` itself,
    where `j <= i <= exit[j]`."""
    learned: NDArray[np.bool_]
    """Whether its prediction counts in the loss: it stands in a completion, and is no root, which nothing predicts."""
    alone: int
    """Tokens of all units, each by itself."""

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def entry(self) -> Ids:
        """The time at which each token is entered: its place."""
        return np.arange(len(self), dtype=np.int32)

    @property
    def saved(self) -> int:
        """Tokens that need not be computed, against every unit by itself."""
        return self.alone - len(self)

    @property
    def sequences(self) -> int:
        """Tokens of the units that no other goes on from, each by itself: what training without a trie cannot save."""
        leaves = self.exit == self.entry
        return int((self.depth[leaves] + 1).sum())


def flatten(units: Sequence[Unit]) -> Flat:
    """The units as one sequence. Time is linear in their tokens; a unit twice is as good as once.

    A unit that begins as the first one does is followed there without a look at each token: give the longest first.
    """
    trie = _Trie()
    for unit in units:
        trie.add(unit)
    return trie.flat(sum(len(unit.context) + len(unit.completion) for unit in units))


class _Trie:
    """Nodes in the order in which they came."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.learned: list[bool] = []
        self.parents: list[int] = []
        self._known: dict[tuple[int, int], int] = {}
        """The child of a node with a token; -1 is above the roots."""
        self._first: Ids | None = None
        """The first unit, whose nodes are 0, 1, 2, ... along it."""

    def add(self, unit: Unit) -> None:
        sequence = np.fromiter(unit.tokens, np.int32, len(unit.context) + len(unit.completion))
        if self._first is None:
            self._first = sequence
        alike = min(_alike(self._first, sequence), len(self.tokens))
        begins = len(unit.context)
        for node in range(begins, alike):
            self.learned[node] = True
        node = alike - 1
        for place in range(alike, len(sequence)):
            node = self._child(node, int(sequence[place]))
            self.learned[node] = self.learned[node] or place >= begins

    def _child(self, node: int, token: int) -> int:
        child = self._known.setdefault((node, token), len(self.tokens))
        if child == len(self.tokens):
            self.tokens.append(token)
            self.parents.append(node)
            self.learned.append(False)
        return child

    def flat(self, alone: int) -> Flat:
        """Depth first. A node's number is above its parent's, so that two passes over all nodes place them."""
        count = len(self.tokens)
        size = [1] * count
        for node in range(count - 1, -1, -1):
            if self.parents[node] >= 0:
                size[self.parents[node]] += size[node]
        place, free, depth, above = [0] * count, [0] * count, [0] * count, 0
        for node, parent in enumerate(self.parents):
            if parent < 0:
                place[node], above = above, above + size[node]
            else:
                place[node], depth[node] = free[parent], depth[parent] + 1
                free[parent] += size[node]
            free[node] = place[node] + 1
        places = np.array(place, np.int64)
        order = np.argsort(places)
        parents = np.array(self.parents, np.int64)
        placed = np.append(places, -1)[parents]  # -1, a root's parent, reads the -1 at the end
        exits = places + np.array(size, np.int64) - 1
        learned = np.array(self.learned, np.bool_) & (parents >= 0)
        numbers = [np.array(each, np.int32)[order] for each in (self.tokens, placed, depth, exits)]
        return Flat(numbers[0], numbers[1], numbers[2], numbers[3], learned[order], alone)


def _alike(one: Ids, other: Ids) -> int:
    """How many tokens two sequences have in common from their beginning."""
    length = min(len(one), len(other))
    differs = one[:length] != other[:length]
    return int(differs.argmax()) if differs.any() else length
