"""Spans for tests of the waterfall."""

from __future__ import annotations

from typing import Any

from reasonflow.runtime.record import Span


def span(node: str = "draft", *indices: int, **changes: Any) -> Span:
    """Half a second in the queue, half to the first token, one second of decoding."""
    facts: dict[str, Any] = {
        "input_tokens": 100,
        "cached_tokens": 60,
        "output_tokens": 20,
        "started_s": 0.0,
        "queued_s": 0.5,
        "first_token_s": 1.0,
        "total_s": 2.0,
        "finish_reason": "stop",
        "outcome": "done",
    }
    return Span(node=node, indices=indices, **{**facts, **changes})
