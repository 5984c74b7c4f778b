"""Values that are no text (dspy.Image and its like) in messages: parts of their own, or refused.

DSPy writes such a value as marked JSON into the text around it. The marks are ours to read only where a value of one of
its types made them: in a text they are data.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from dspy.adapters.types.base_type import CUSTOM_TYPE_END_IDENTIFIER, CUSTOM_TYPE_START_IDENTIFIER

from reasonflow.backends.protocol import Message
from reasonflow.errors import InputError
from reasonflow.prompts.neutralise import neutralise

_MARKS = (CUSTOM_TYPE_START_IDENTIFIER, CUSTOM_TYPE_END_IDENTIFIER)
_HINT = "CUSTOM-TYPE-"
"""Stands in both marks."""
_MARKED = re.compile(f"{re.escape(_MARKS[0])}(.*?){re.escape(_MARKS[1])}", re.DOTALL)


def unmarked(value: Any) -> Any:
    """The value with the marks in its texts broken, those inside lists and dicts too: only DSPy's types may mark."""
    if isinstance(value, str):
        return neutralise(value, _MARKS) if _HINT in value else value
    if isinstance(value, dict):
        return {key: unmarked(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(unmarked, value))
    return value


def expanded(messages: Iterable[Message]) -> tuple[Message, ...]:
    """The messages with every marked value as parts of its own, as OpenAI's API spells them."""
    return tuple(map(_expanded, messages))


def refuse_media(messages: Sequence[Message]) -> None:
    """Raise InputError for parts that are no text: a prompt of tokens would lose them without a word."""
    for message in messages:
        content = message.get("content")
        if isinstance(content, str) or content is None:
            continue
        kinds = sorted({str(part.get("type")) for part in content if part.get("type") != "text"})
        if kinds:
            raise InputError(
                f"this engine takes text, and an input holds {', '.join(kinds)}",
                why="its prompts are token ids, and only the model's own processor could make some of that",
                fix="serve the model and open it with rf.openai(...), without tokenizer=, or describe it in words",
            )


def _expanded(message: Message) -> Message:
    content = message.get("content")
    if message.get("role") != "user" or not isinstance(content, str) or _MARKS[0] not in content:
        return message
    parts: list[Any] = []
    end = 0
    for match in _MARKED.finditer(content):
        parts += _text(content[end : match.start()])
        parts += _parts(match[1].strip())
        end = match.end()
    return {**message, "content": [*parts, *_text(content[end:])]}


def _text(text: str) -> list[Any]:
    return [{"type": "text", "text": text}] if text else []


def _parts(payload: str) -> list[Any]:
    for read in (json.loads, _read_twice):
        try:
            found = read(payload)
        except (ValueError, TypeError):
            continue
        if isinstance(found, list):
            return [part if isinstance(part, dict) else {"type": "text", "text": str(part)} for part in found]
    return _text(payload)  # marks that no type of DSPy's made: data


def _read_twice(payload: str) -> Any:
    """Inside a larger value it is JSON in a JSON string."""
    return json.loads(json.loads(f'"{payload}"'))
