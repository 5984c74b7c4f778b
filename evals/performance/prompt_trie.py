"""The least an engine must compute of some prompts: every block of what they share once, and what is left of each.

Rounded as vLLM's prefix cache is: only whole blocks are reused, each behind its whole prefix, and of a prompt that is
known to its end the last token is computed again.
"""

from __future__ import annotations

from collections.abc import Sequence

from reasonflow.backends.protocol import Tokens

Asked = tuple[Tokens, Tokens]
"""A prompt, and what was generated after it: a later prompt that continues both finds both."""


def ideal_computed(asked: Sequence[Asked], block_size: int) -> int:
    """Prompt tokens computed by an engine that forgets nothing and sees short prompts first, which is its best order.

    asked: one pair for every sample; equal prompts count as often as they were asked.
    """
    known = _Trie(block_size)
    computed = 0
    for prompt, output in sorted(asked, key=lambda pair: len(pair[0])):
        computed += len(prompt) - known.hit_tokens(prompt)
        known.add(prompt)
        # The engine never computes what follows the last token it has generated.
        known.add((*prompt, *output[:-1]))
    return computed


class _Trie:
    """Blocks by the number of the prefix before them: a prefix has one number."""

    def __init__(self, block_size: int) -> None:
        self._block_size = block_size
        self._numbers: dict[tuple[int, Tokens], int] = {}

    def hit_tokens(self, tokens: Tokens) -> int:
        """Tokens in front that are known, never all of them."""
        prefix, hits = 0, 0
        for block in self._blocks(tokens[:-1]):
            number = self._numbers.get((prefix, block))
            if number is None:
                break
            prefix, hits = number, hits + self._block_size
        return hits

    def add(self, tokens: Tokens) -> None:
        prefix = 0
        for block in self._blocks(tokens):
            prefix = self._numbers.setdefault((prefix, block), len(self._numbers) + 1)

    def _blocks(self, tokens: Tokens) -> list[Tokens]:
        size = self._block_size
        return [tuple(tokens[at : at + size]) for at in range(0, len(tokens) - size + 1, size)]
