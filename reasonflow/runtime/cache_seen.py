"""What the token trie foresaw of the prefix cache against what the engine found there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from reasonflow.plan.explain import Measured

if TYPE_CHECKING:
    from reasonflow.runtime.admission import Footprints

_FULL = 0.8
"""Live footprints beyond this part of the KV cache: outputs can be twice as long as footprints count them."""


@dataclass(slots=True)
class CacheSeen:
    """The KV cache while a run's samples ended: the fullest of those its engines have."""

    block_tokens: int = 0
    """0 where no engine has one."""
    kv_tokens: int | None = None
    """What it holds; None where unknown."""
    live_tokens: int = 0
    """Most that was live: prompts of running requests, shared blocks once, and half of what they were to write."""

    def see(self, footprints: Footprints | None) -> None:
        """A sample has just ended."""
        if footprints is None:
            return
        block, capacity = footprints.trie.block_size, footprints.trie.capacity
        live = footprints.live * block
        if not self.block_tokens or live > self.live_tokens:
            self.block_tokens, self.live_tokens = block, live
            self.kv_tokens = None if capacity is None else capacity * block


def compare(row: Measured, planned: int | None, cached: int | None, input_tokens: int) -> None:
    """Add a sample to what was planned of its step, unless nothing can be said: one that was never computed."""
    if planned is not None and cached is not None and input_tokens:
        row.foreseen += 1
        row.planned_tokens += planned
        row.found_tokens += cached


def shortfall(row: Measured, seen: CacheSeen) -> str:
    """Why a step found less than was planned, in one line. Empty where it lacks no more than a block a sample.

    Over the step and not sample by sample: an engine may compute the second of two siblings first.
    """
    missed = row.planned_tokens - row.found_tokens
    if missed <= seen.block_tokens * row.foreseen:
        return ""
    what = f"{missed:,} of {row.planned_tokens:,} planned tokens were not in the prefix cache"
    if seen.kv_tokens is None:
        return f"{what}: nobody knows what the engine's KV cache holds"
    room = f"{seen.live_tokens:,} of the {seen.kv_tokens:,} tokens the KV cache holds"
    if seen.live_tokens > _FULL * seen.kv_tokens:
        return f"{what}: prefixes were evicted, live footprints came to {room}"
    return f"{what}: forgotten by the engine, though live footprints came to only {room}"
