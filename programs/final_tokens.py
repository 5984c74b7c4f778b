"""The tokens of a final answer among those of the text that leads to it."""

from __future__ import annotations

from collections.abc import Sequence

from reasonflow.backends.protocol import TokenLogprobs
from reasonflow.prompts.answers import boxed_span


def final_tokens(text: Sequence[TokenLogprobs]) -> tuple[TokenLogprobs, ...]:
    """Those that hold any of what stands in the last complete box; nothing where there is none.

    How sure a model is of its reasoning says little of one number in it; a token that a box shares counts.
    """
    span = boxed_span("".join(token.token for token in text))
    if span is None:
        return ()
    start, end = span
    found, at = [], 0
    for token in text:
        if at < end and at + len(token.token) > start:
            found.append(token)
        at += len(token.token)
    return tuple(found)
