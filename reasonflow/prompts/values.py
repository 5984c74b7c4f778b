"""A field's value as prompt text: strings as they are, branches as numbered sections, the rest as DSPy writes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from dspy.adapters.utils import format_field_value
from pydantic.fields import FieldInfo

Demo: TypeAlias = Mapping[str, Any]


def value_text(name: str, field: FieldInfo, value: Any) -> str:
    """The value of input field `name` as it stands in a prompt.

    Lists of strings become sections numbered by position from 1; a hole (None: a lost branch) leaves its number out,
    so that a number always means the same branch.
    """
    if isinstance(value, str):
        return value
    if type(value) in (int, float):  # DSPy's own way builds a schema for every value, 0.1 ms, to write the same
        return str(value)
    if is_branches(value):
        noun = _singular(name)
        sections = [f"### {noun} {i}\n{item}" for i, item in enumerate(value, 1) if item is not None]
        return "\n\n".join(sections) or "(none)"
    return str(format_field_value(field, value))


def is_branches(value: Any) -> bool:
    """Whether the value is a list of texts, holes included."""
    return isinstance(value, (list, tuple)) and all(item is None or isinstance(item, str) for item in value)


def _singular(name: str) -> str:
    words = name.replace("_", " ").strip().capitalize()
    if words.endswith("ies"):
        return words[:-3] + "y"
    return words[:-1] if words.endswith("s") and not words.endswith("ss") else words
