"""Takes a model's thinking apart from the solution that follows it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from reasonflow.backends.protocol import Tokenizer, Tokens

_TAIL_TOKENS = 16
"""Enough of a prompt's end to see an opening tag and the whitespace behind it."""


class ThinkTags(NamedTuple):
    """The pair of tags a model thinks between."""

    open: str = "<think>"
    close: str = "</think>"


THINK = ThinkTags()


class Split(NamedTuple):
    thinking: str
    solution: str


def split_thinking(text: str, tags: ThinkTags = THINK, *, opened: bool = False) -> Split:
    """(thinking, solution): what stands between the tags, and everything else.

    opened: the prompt ended inside a thought, as with templates that write the opening tag themselves. It need not be
    said where the closing tag shows it: a closing tag that nothing opened ends a thought that began in the prompt. A
    thought that never closes was cut: all that follows its tag is thinking.
    """
    if tags.open not in text and tags.close not in text:
        return Split(text.strip(), "") if opened else Split("", text.strip())
    pieces = _pattern(tags).split(text)
    inside = opened or pieces[1] == tags.close
    thoughts: list[str] = []
    solution: list[str] = []
    for i in range(0, len(pieces), 2):
        if i:
            inside = pieces[i - 1] == tags.open
        (thoughts if inside else solution).append(pieces[i])
    return Split(_joined(thoughts), _joined(solution))


def opens_thought(prompt: Tokens, tokenizer: Tokenizer, tags: ThinkTags = THINK) -> bool:
    """Whether a rendered prompt ends inside a thought: its template wrote the opening tag for the model."""
    return tokenizer.decode(prompt[-_TAIL_TOKENS:]).rstrip().endswith(tags.open)


class ThinkingStream:
    """`split_thinking` for text that is still being generated: feed it pieces, in order."""

    def __init__(self, tags: ThinkTags = THINK, *, opened: bool = False) -> None:
        self._tags = tags
        self._inside = opened
        self._held = ""

    def feed(self, text: str) -> Iterator[tuple[bool, str]]:
        """(inside a thought, text) for what is certain by now; the start of a possible tag is held back."""
        pieces = _pattern(self._tags).split(self._held + text)
        keep = self._partial_tag(pieces[-1])
        self._held, pieces[-1] = pieces[-1][len(pieces[-1]) - keep :], pieces[-1][: len(pieces[-1]) - keep]
        for i, piece in enumerate(pieces):
            if i % 2:
                self._inside = piece == self._tags.open
            elif piece:
                yield self._inside, piece

    def rest(self) -> Iterator[tuple[bool, str]]:
        """What was held back, once the text has ended."""
        if self._held:
            yield self._inside, self._held
        self._held = ""

    def _partial_tag(self, text: str) -> int:
        longest = max(map(len, self._tags)) - 1
        for size in range(min(longest, len(text)), 0, -1):
            if any(tag.startswith(text[-size:]) for tag in self._tags):
                return size
        return 0


def _joined(pieces: list[str]) -> str:
    return "\n\n".join(stripped for piece in pieces if (stripped := piece.strip()))


@lru_cache(maxsize=16)
def _pattern(tags: ThinkTags) -> re.Pattern[str]:
    return re.compile(f"({re.escape(tags.open)}|{re.escape(tags.close)})")
