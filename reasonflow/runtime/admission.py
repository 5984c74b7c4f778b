"""Footprints: what the KV cache must hold for the requests that run, and whether one more has room beside them."""

from __future__ import annotations

import math

from reasonflow.runtime.token_trie import Chain, TokenTrie

OUTPUT_SHARE = 0.5
"""Of what a sample is going to write: so much of it is there on average while it runs, since samples that began earlier
end and make room while later ones grow. Simulated with a cache for an eighth of the prefixes (1,100 blocks, 64 slots,
samples of 36 to 72 tokens): 2 % slower than no limit at all and never overfull; with the whole of it 18 % slower, for
slots that stay empty."""


class Footprints:
    """The live prefixes of one engine and what their samples are going to write, in blocks. One loop's object.

    A footprint is a prompt's blocks, those it shares counted once, and the expected output of its samples in part.
    """

    def __init__(self, trie: TokenTrie) -> None:
        self.trie = trie
        self.outputs = 0
        """Blocks set aside for what running samples are going to write."""

    @property
    def live(self) -> int:
        """Blocks taken: never more than the capacity, but for a single request that is larger than it."""
        return self.trie.live + self.outputs

    def output_blocks(self, expected_tokens: float, chain: Chain | None) -> int:
        """Of one sample: what it is going to write, and the end of its prompt that fills no block."""
        rest = 0 if chain is None else len(chain.rest)
        return math.ceil((rest + OUTPUT_SHARE * expected_tokens) / self.trie.block_size)

    def fits(self, chain: Chain | None, outputs: int, instead: Chain | None = None) -> bool:
        """Whether a request has room. instead: a held chain that it takes the place of."""
        if self.trie.capacity is None:
            return True
        needed = self.live + outputs + (0 if chain is None else self.trie.fresh(chain))
        if needed > self.trie.capacity and instead is not None and chain is not None:
            needed -= self.trie.alone(instead, chain)
        return needed <= self.trie.capacity

    def keeps(self, chain: Chain) -> bool:
        """Whether the cache can hold a prompt at all."""
        return self.trie.capacity is None or len(chain.keys) <= self.trie.capacity

    def enter(self, chain: Chain | None, outputs: int) -> None:
        """A request begins."""
        self.outputs += outputs
        if chain is not None:
            self.trie.hold(chain)

    def leave(self, chain: Chain | None, outputs: int, *, computed: bool) -> None:
        """It is gone. outputs: what is still set aside for it."""
        self.outputs -= outputs
        if chain is not None:
            self.trie.drop(chain, computed=computed)
