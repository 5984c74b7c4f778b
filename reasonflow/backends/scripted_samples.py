"""A scripted text as an engine would end it, token by token, with the chances of each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from reasonflow.backends.chunk_tokenizer import END_ID, ChunkTokenizer
from reasonflow.backends.protocol import FinishReason, TokenLogprobs, Tokens
from reasonflow.backends.script import Chances, likeliest
from reasonflow.errors import InputError

_KEPT = 4096
"""Texts remembered: scripts that write a new text per call must not fill the memory."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample, as long as it may be."""

    text: str
    tokens: Tokens
    finish_reason: FinishReason
    chances: Mapping[int, Chances] = field(default_factory=dict)
    """Of the tokens at these places; the others are certain."""
    stopped: str | None = None
    """The stop string that ended it."""
    unseen: int = 1
    """Tokens at the end that the text does not show: the end of the turn, or those of the stop string."""


class Samples:
    """Makes them, and remembers plain texts."""

    def __init__(self, tokenizer: ChunkTokenizer) -> None:
        self._tokenizer = tokenizer
        self._known: dict[str, Sample] = {}

    def cut(self, parts: tuple[str | Chances, ...], stop: Sequence[str], limit: int) -> Sample:
        """The parts as one text that ends at a stop string, at the token limit, or at the end of turn.

        Raises InputError where chances are of no one token.
        """
        plain = len(parts) == 1 and isinstance(parts[0], str)
        text = str(parts[0]) if plain else "".join(map(likeliest, parts))
        stopped = min((each for each in stop if each in text), key=text.index, default=None)
        if stopped is not None:
            text = text[: text.index(stopped)]
        sample = self._whole(text) if plain else self._joined(parts, len(text))
        if stopped is not None:
            unseen = self._tokenizer.encode(stopped)
            sample = replace(sample, tokens=(*sample.tokens[:-1], *unseen), stopped=stopped, unseen=len(unseen))
        if len(sample.tokens) <= limit:
            return sample
        tokens = sample.tokens[:limit]
        return Sample(self._tokenizer.decode(tokens), tokens, "length", sample.chances)

    def logprobs(self, sample: Sample, top: int) -> tuple[TokenLogprobs, ...]:
        """Of each token, with so many of the likeliest at its place."""
        found: list[TokenLogprobs] = []
        for place, token in enumerate(sample.tokens):
            text = self._tokenizer.decode((token,))
            chances = sample.chances.get(place, {text: 1.0})
            ranked = sorted(((other, math.log(chance)) for other, chance in chances.items()), key=lambda pair: -pair[1])
            found.append(TokenLogprobs(text, math.log(chances[text]), tuple(ranked[:top])))
        return tuple(found)

    def _whole(self, text: str) -> Sample:
        sample = self._known.get(text)
        if sample is None:
            sample = Sample(text, (*self._tokenizer.encode(text), END_ID), "stop")
            if len(self._known) < _KEPT:
                self._known[text] = sample
        return sample

    def _joined(self, parts: tuple[str | Chances, ...], length: int) -> Sample:
        """The parts as one text of at most so many characters."""
        text, tokens, chances = "", list[int](), dict[int, Chances]()
        for part in parts:
            word = likeliest(part)
            if not isinstance(part, str):
                _check_token(word, self._tokenizer)
                if len(text) + len(word) <= length:
                    chances[len(tokens)] = part
            word = word[: length - len(text)]
            text += word
            tokens += self._tokenizer.encode(word)
        return Sample(text, (*tokens, END_ID), "stop", chances)


def _check_token(word: str, tokenizer: ChunkTokenizer) -> None:
    tokens = len(tokenizer.encode(word))
    if tokens != 1:
        raise InputError(
            f"{word!r} is {tokens} tokens of the scripted engine",
            why="chances are those of one token: four letters at most, with a space in front or without",
            fix="let the likeliest text be shorter, and put the rest into a part of its own",
        )
