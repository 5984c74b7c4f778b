"""The scripted engine's tokenizer: stateless, reversible, about four characters per token."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from reasonflow.backends.protocol import Message, Tokens

_CHUNK = re.compile(r"\s?\S{1,4}|\s")
_PARAGRAPH = re.compile(r"(?=\n\n)")
"""Whitespace stands in front of a chunk only, so a text falls apart before it without another token coming out."""
_TURNS = {"system": "<|system|>", "user": "<|user|>", "assistant": "<|assistant|>"}
_END = "<|end|>"
_SPECIAL_IDS = {text: i for i, text in enumerate((_END, *_TURNS.values()), 1)}
_SPECIALS = re.compile("(" + "|".join(map(re.escape, _SPECIAL_IDS)) + ")")
_SPECIAL_TEXTS = {i: text for text, i in _SPECIAL_IDS.items()}
END_ID = _SPECIAL_IDS[_END]


class ChunkTokenizer:
    """Tokens are chunks of a word; a token's id holds its bytes, so equal texts have equal ids in every process.

    Like a real tokenizer it reads special tokens inside a text as special: who renders must neutralise them.
    """

    @property
    def special_tokens(self) -> tuple[str, ...]:
        return tuple(_SPECIAL_IDS)

    @property
    def system_turns(self) -> bool:
        return True

    def render(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> Tokens:
        """The chat as token ids, ready for the assistant's turn. It knows no tools."""
        ids: list[int] = []
        for message in messages:
            role = message["role"]
            ids.append(_SPECIAL_IDS[_TURNS.get(role, _TURNS["user"])])
            ids += self.encode(_plain(message["content"]))
            ids.append(END_ID)
        ids.append(_SPECIAL_IDS[_TURNS["assistant"]])
        return tuple(ids)

    def encode(self, text: str) -> Tokens:
        ids: list[int] = []
        for paragraph in _PARAGRAPH.split(text):
            ids += _encoded(paragraph)
        return tuple(ids)

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(map(_text, tokens))


def _plain(content: object) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, (list, tuple)):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return "" if content is None else str(content)


@lru_cache(maxsize=1024)  # instructions and closing words stand in every prompt of a site
def _encoded(paragraph: str) -> Tokens:
    ids: list[int] = []
    for i, piece in enumerate(_SPECIALS.split(paragraph)):
        if i % 2:
            ids.append(_SPECIAL_IDS[piece])
        else:
            ids.extend(map(_id, _CHUNK.findall(piece)))
    return tuple(ids)


@lru_cache(maxsize=65_536)
def _id(chunk: str) -> int:
    # The leading 1 keeps zero bytes and lifts every id above the special ones.
    return int.from_bytes(b"\1" + chunk.encode("utf-8", "surrogatepass"), "big")


@lru_cache(maxsize=65_536)
def _text(token: int) -> str:
    if token in _SPECIAL_TEXTS:
        return _SPECIAL_TEXTS[token]
    return token.to_bytes((token.bit_length() + 7) // 8, "big")[1:].decode("utf-8", "surrogatepass")
