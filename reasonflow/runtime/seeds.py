"""Seeds that follow the branch, not the order of arrival."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b

_BITS = 31
"""Room for `seed + index` in every server's integer type."""


def run_seed(seed: int, rollout_id: int | None, temperature: float | None) -> int:
    """The seed of a whole run.

    DSPy's resampling wrappers (BestOfN, Refine) vary only `rollout_id` and temperature, so both take part: without
    them the wrapper's runs would be identical.
    """
    if rollout_id is None:
        return seed
    return _mix(f"{seed}/{rollout_id}/{temperature}")


def sample_seed(seed: int, path: str, indices: tuple[int, ...]) -> int:
    """The seed of one sample.

    indices: the branch, loop and sample numbers on the way to it, outermost first. The last one is added rather than
    mixed in: sample i of a group has base + i, as a vLLM request's children do, and a fork of single calls draws the
    same samples as the fused group.
    """
    last = indices[-1] if indices else 0
    return (_base(seed, path, indices[:-1]) + last) % (1 << _BITS)


@lru_cache(maxsize=256)  # siblings share it
def _base(seed: int, path: str, indices: tuple[int, ...]) -> int:
    return _mix(f"{seed}/{path}/{indices}")


def _mix(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=4).digest()) % (1 << _BITS)
