"""Text from users, documents and models is data: chat-control tokens inside it lose their power."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from reasonflow.backends.protocol import Message, Tokenizer

CHAT_CONTROLS: tuple[str, ...] = (
    "<|im_start|>",
    "<|im_end|>",
    "<|endoftext|>",
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<start_of_turn>",
    "<end_of_turn>",
    "[INST]",
    "[/INST]",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|end|>",
)
"""Turn markers of common chat templates, for engines whose tokenizer is not at hand."""

BREAK = "\u200b"
"""Put inside a control token: readers and models still see the same characters, the tokenizer no longer the token."""


def specials_of(tokenizer: Tokenizer | None) -> tuple[str, ...]:
    """The strings to break in texts for this tokenizer; the common turn markers where there is none."""
    return CHAT_CONTROLS if tokenizer is None else tokenizer.special_tokens


def neutralise(text: str, specials: tuple[str, ...] = CHAT_CONTROLS) -> str:
    """`text` with every special token broken apart, so that it cannot end a turn or open another. Idempotent."""
    pattern = _pattern(specials)
    if pattern is None:
        return text
    # Breaking one match can leave an overlapping one behind; each round inserts into every match, so this ends.
    while pattern.search(text):
        text = pattern.sub(_split, text)
    return text


def neutralise_messages(messages: Iterable[Message], specials: tuple[str, ...]) -> tuple[Message, ...]:
    """The messages with their contents neutralised, text parts of mixed contents and tool calls included."""
    return tuple(_message(message, specials) for message in messages)


def _message(message: Message, specials: tuple[str, ...]) -> Message:
    safe = {**message, "content": _content(message.get("content"), specials)}
    if message.get("tool_calls"):
        safe["tool_calls"] = [
            {**call, "function": {key: neutralise(text, specials) for key, text in call["function"].items()}}
            for call in message["tool_calls"]
        ]
    return safe


def _content(content: Any, specials: tuple[str, ...]) -> Any:
    if isinstance(content, str):
        return neutralise(content, specials)
    if isinstance(content, (list, tuple)):
        return [
            {**part, "text": neutralise(part["text"], specials)}
            if isinstance(part, dict) and isinstance(part.get("text"), str)
            else part
            for part in content
        ]
    return content


def _split(match: re.Match[str]) -> str:
    token = match.group()
    return token[0] + BREAK + token[1:]


@lru_cache(maxsize=64)
def _pattern(specials: tuple[str, ...]) -> re.Pattern[str] | None:
    # A single character cannot be broken, and one that holds the break already would be found again for ever.
    breakable = sorted({s for s in specials if len(s) > 1 and BREAK not in s}, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, breakable))) if breakable else None
