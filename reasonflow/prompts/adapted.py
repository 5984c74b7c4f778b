"""Prompts in DSPy's marked fields: an adapter's own messages, or its parts behind what several calls read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import dspy
from pydantic.fields import FieldInfo

from reasonflow.backends.protocol import Message
from reasonflow.prompts.custom_types import unmarked
from reasonflow.prompts.layouts import Lead
from reasonflow.prompts.neutralise import neutralise_messages
from reasonflow.prompts.values import Demo, is_branches, value_text

_KNOWN = (dspy.Adapter, dspy.ChatAdapter, dspy.JSONAdapter, dspy.XMLAdapter)
"""Their `format` puts together the parts used here, and nothing else."""


@lru_cache(maxsize=1)
def default_adapter() -> dspy.Adapter:
    """DSPy's default adapter without its hidden second call."""
    return dspy.ChatAdapter(use_json_adapter_fallback=False)


def has_own_format(adapter: dspy.Adapter | None) -> bool:
    """Whether the adapter puts its messages together in a way of its own, which a layout must not change."""
    if adapter is None:
        return False
    return next(cls for cls in type(adapter).__mro__ if "format" in vars(cls)) not in _KNOWN


def has_history(signature: type[dspy.Signature]) -> bool:
    """Whether an input holds earlier turns, which stand before all others."""
    return any(field.annotation is dspy.History for field in signature.input_fields.values())


class Adapted:
    """A call site's parts as an adapter writes them."""

    closing = ""
    """The adapter asks for the output behind the inputs."""

    def __init__(
        self, signature: type[dspy.Signature], demos: Sequence[Demo], adapter: dspy.Adapter, lead: Sequence[Lead]
    ) -> None:
        self._signature, self._adapter = signature, adapter
        self._demos = [unmarked(dict(demo)) for demo in demos]
        self._lead = {each.field: each.heading for each in lead}

    def whole(self, inputs: Mapping[str, Any], specials: tuple[str, ...]) -> tuple[Message, ...]:
        """The adapter's own messages."""
        prepared = self._prepared(inputs, self._signature.input_fields)
        return neutralise_messages(self._adapter.format(self._signature, self._demos, prepared), specials)

    def instructions(self) -> str:
        """Fields, their structure and the task, and which fields stand elsewhere."""
        told = [
            f"The input field `{name}` is the text under “## {heading}” at the beginning."
            for name, heading in self._lead.items()
        ]
        return "\n\n".join([self._adapter.format_system_message(self._signature), *told])

    def demos(self, specials: tuple[str, ...]) -> list[tuple[str, str]]:
        """Each as (what the user says, what the assistant answers)."""
        turns = neutralise_messages(self._adapter.format_demos(self._signature, self._demos), specials)
        texts = [str(turn["content"]) for turn in turns]
        return list(zip(texts[::2], texts[1::2], strict=True))

    def rest(self, inputs: Mapping[str, Any], specials: tuple[str, ...]) -> str:
        """What only this call reads, and what it is to write."""
        own = {name: field for name, field in self._signature.input_fields.items() if name not in self._lead}
        said = self._adapter.format_user_message_content(
            self._signature, self._prepared(inputs, own), main_request=True
        )
        (turn,) = neutralise_messages([{"role": "user", "content": said}], specials)
        return str(turn["content"])

    @staticmethod
    def _prepared(inputs: Mapping[str, Any], fields: Mapping[str, FieldInfo]) -> dict[str, Any]:
        given = {name: inputs.get(name) for name in fields}
        return {name: _for_adapter(name, fields[name], value) for name, value in given.items() if value is not None}


def _for_adapter(name: str, field: FieldInfo, value: Any) -> Any:
    if is_branches(value) and None in value:
        return value_text(name, field, value)  # adapters would write a hole as a branch that says "None"
    return unmarked(value)
