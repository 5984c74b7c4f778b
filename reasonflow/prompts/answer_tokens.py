"""Which of a sample's tokens are its text, and its answer: those that scores are computed of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reasonflow.backends.protocol import TokenLogprobs
from reasonflow.prompts.thinking import THINK, ThinkTags


def answer_tokens(
    logprobs: Sequence[TokenLogprobs], text: str, tags: ThinkTags = THINK, *, opened: bool = False
) -> tuple[TokenLogprobs, ...]:
    """The tokens of a text without its thinking. text: thinking included. opened: it begins inside a thought."""
    return tuple(after_thinking(text_tokens(logprobs, text), tags, opened))


def text_tokens(logprobs: Sequence[TokenLogprobs], text: str) -> tuple[TokenLogprobs, ...]:
    """The tokens that a sample's text is made of: not the one that ended the turn, nor those of a stop string."""
    place = 0
    for count, token in enumerate(logprobs):
        if place >= len(text):
            return tuple(logprobs[:count])
        place += len(token.token)
    return tuple(logprobs)


def after_thinking(logprobs: Sequence[TokenLogprobs], tags: ThinkTags, opened: bool) -> Iterator[TokenLogprobs]:
    """The tokens behind the last thought; none where it never closes."""
    text = "".join(token.token for token in logprobs)
    closed = text.rfind(tags.close)
    if text.rfind(tags.open) > closed or (opened and closed < 0):
        return
    start = closed + len(tags.close) if closed >= 0 else 0
    place = 0
    for token in logprobs:
        if place >= start:
            yield token
        place += len(token.token)
