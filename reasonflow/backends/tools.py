"""Tool calls from an engine that only writes text.

A call that must come is forced: the text follows a JSON schema made of the tools. One that may come is written in the
model's own format, which a parser of the engine reads.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from reasonflow.backends.protocol import Completion, Prompt, ToolCall

_FREE_CHOICES = (None, "auto", "none")

_MOST_CALLS = 4
"""In a turn that must call: a model that does not find the array's end is brought to it."""


def offered(prompt: Prompt) -> tuple[Mapping[str, Any], ...]:
    """The tools the model is told of."""
    return () if prompt.tool_choice == "none" else prompt.tools


def is_forced(prompt: Prompt) -> bool:
    """Whether a tool must be called."""
    return bool(prompt.tools) and prompt.tool_choice not in _FREE_CHOICES


def forced_schema(prompt: Prompt) -> str:
    """JSON text of the schema of one call or more: `[{"name": ..., "parameters": {...}}]`.

    The prompt's choice is "required", or the name of the only tool that may be called.
    """
    functions = [tool["function"] for tool in prompt.tools]
    named = [function for function in functions if function["name"] == prompt.tool_choice]
    calls = [_call(function) for function in named or functions]
    most = 1 if named else _MOST_CALLS
    items = calls[0] if len(calls) == 1 else {"anyOf": calls}
    return json.dumps({"type": "array", "minItems": 1, "maxItems": most, "items": items})


def forced_calls(completion: Completion) -> Completion:
    """The completion with the calls in its text as tool calls. A text that was cut off stays a text."""
    try:
        found = json.loads(completion.text)
        calls = [(call["name"], json.dumps(call["parameters"], ensure_ascii=False)) for call in found]
    except (ValueError, TypeError, KeyError):
        return completion
    return with_calls(completion, "", calls)


def with_calls(completion: Completion, text: str, calls: Sequence[tuple[str, str]]) -> Completion:
    """The completion with (name, arguments) as its tool calls and `text` as what stands beside them."""
    made = tuple(ToolCall(f"call_{number}", name, arguments) for number, (name, arguments) in enumerate(calls))
    return replace(completion, text=text, tool_calls=made)


def template_messages(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The messages as chat templates take them: a call's arguments as an object where they are one."""
    return [
        {**message, "tool_calls": [_for_template(call) for call in message["tool_calls"]]}
        if message.get("tool_calls")
        else dict(message)
        for message in messages
    ]


def _for_template(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call["function"]
    try:
        arguments = json.loads(function["arguments"])
    except ValueError:
        return dict(call)
    return {**call, "function": {**function, "arguments": arguments}} if isinstance(arguments, dict) else dict(call)


def _call(function: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "name": {"type": "string", "enum": [function["name"]]},
            "parameters": function.get("parameters") or {"type": "object", "properties": {}},
        },
        "required": ["name", "parameters"],
        "additionalProperties": False,
    }
