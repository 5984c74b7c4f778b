"""The least an engine must compute of some prompts: every block of what they share once, and what is left of each.

Rounded as vLLM's prefix cache is: only whole blocks are reused, each behind its whole prefix, and of a prompt that is
known to its end the last token is computed again.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from reasonflow.backends.block_cache import BlockCache
from reasonflow.backends.protocol import Tokens

Asked = tuple[Tokens, Tokens]
"""A prompt, and what was generated after it: a later prompt that continues both finds both."""


def ideal_computed(asked: Sequence[Asked], block_size: int) -> int:
    """Prompt tokens computed by an engine that forgets nothing and sees short prompts first, which is its best order.

    asked: one pair for every sample; equal prompts count as often as they were asked.
    """
    known = BlockCache(block_size, capacity=sys.maxsize)
    computed = 0
    for prompt, output in sorted(asked, key=lambda pair: len(pair[0])):
        computed += len(prompt) - known.hit_tokens(prompt)
        known.add(prompt)
        # The engine never computes what follows the last token it has generated.
        known.add((*prompt, *output[:-1]))
    return computed
