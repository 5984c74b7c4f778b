"""The signatures of programs that read their own earlier attempts."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count

import dspy

from reasonflow.prompts.instructions import custom_instructions
from reasonflow.prompts.styles import REASONING


def unused(name: str, signature: type[dspy.Signature]) -> str:
    """`name`, or the first of `name_2`, `name_3`, ... that is no field of the signature."""
    taken = {*signature.fields, REASONING}
    return next(free for number in count(1) if (free := name if number == 1 else f"{name}_{number}") not in taken)


def extended(
    signature: type[dspy.Signature], instructions: str, extra: Mapping[str, tuple[type, str]]
) -> type[dspy.Signature]:
    """`signature` with more inputs behind its own, and `instructions` behind its own.

    extra: name to (type, description).
    """
    grown = signature
    for name, (kind, description) in extra.items():
        grown = grown.append(name, dspy.InputField(desc=description), type_=kind)
    own = custom_instructions(signature)
    made: type[dspy.Signature] = grown.with_instructions("\n\n".join(part for part in (own, instructions) if part))
    return made


def about(
    signature: type[dspy.Signature],
    instructions: str,
    extra: Mapping[str, tuple[type, str]],
    output: tuple[str, str],
    gives: type = str,
) -> type[dspy.Signature]:
    """A statement about attempts at `signature`: its inputs, the `extra` ones, and one output (name, description)."""
    fields = {name: (info.annotation, _input(name, info)) for name, info in signature.input_fields.items()}
    fields |= {name: (kind, dspy.InputField(desc=description)) for name, (kind, description) in extra.items()}
    fields[output[0]] = (gives, dspy.OutputField(desc=output[1]))
    made: type[dspy.Signature] = dspy.Signature(fields, instructions)
    return made


def _input(name: str, info: object) -> object:
    extra = getattr(info, "json_schema_extra", None) or {}
    description = extra.get("desc", "")
    return dspy.InputField() if description == f"${{{name}}}" else dspy.InputField(desc=description)
