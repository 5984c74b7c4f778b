"""What a signature's fields are called in a prompt."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic.fields import FieldInfo


def title(name: str, field: FieldInfo) -> str:
    """Its prefix, or its name."""
    return str(_extra(field).get("prefix") or name).rstrip(": ")


def description(name: str, field: FieldInfo) -> str:
    """What somebody wrote about it; empty where nobody did."""
    found = str(_extra(field).get("desc") or "")
    return "" if found == f"${{{name}}}" else found.strip()


def heading(name: str, field: FieldInfo) -> str:
    """The title, with the description in brackets."""
    told = description(name, field)
    return f"{title(name, field)} ({told})" if told else title(name, field)


def _extra(field: FieldInfo) -> Mapping[str, object]:
    return field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
