"""A field's value as prompt text: strings as they are, branches as numbered sections, the rest as DSPy writes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from dspy.adapters.utils import format_field_value
from pydantic.fields import FieldInfo


@runtime_checkable
class HasText(Protocol):
    """What a call produced. Only its text flows on into later prompts, never its thinking."""

    @property
    def text(self) -> str: ...


def value_text(name: str, field: FieldInfo, value: Any) -> str:
    """The value of input field `name` as it stands in a prompt.

    Lists of strings or records become sections numbered by position from 1; a hole (None: a lost branch) leaves its
    number out, so that a number always means the same branch.
    """
    text = _text(value)
    if text is not None:
        return text
    if is_branches(value):
        noun = _singular(name)
        sections = [f"### {noun} {i}\n{_text(item)}" for i, item in enumerate(value, 1) if item is not None]
        return "\n\n".join(sections) or "(none)"
    return str(format_field_value(field, value))


def is_branches(value: Any) -> bool:
    """Whether the value is a list of texts or records, holes included."""
    return isinstance(value, (list, tuple)) and all(item is None or _text(item) is not None for item in value)


def is_record(value: Any) -> bool:
    """Whether the value is one call's result rather than plain data."""
    return not isinstance(value, str) and _text(value) is not None


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        text = value.get("text")
    else:
        text = value.text if isinstance(value, HasText) else None
    return text if isinstance(text, str) else None


def _singular(name: str) -> str:
    words = name.replace("_", " ").strip().capitalize()
    if words.endswith("ies"):
        return words[:-3] + "y"
    return words[:-1] if words.endswith("s") and not words.endswith("ss") else words
