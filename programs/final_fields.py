"""The outputs of a signature in a text that a model has written in several pieces."""

from __future__ import annotations

from typing import Any

import dspy
from dspy.utils.exceptions import AdapterParseError

import reasonflow as rf
from reasonflow.prompts.answers import extract_answer
from reasonflow.prompts.parse import parse
from reasonflow.prompts.styles import Style, answer_field


def final_fields(signature: type[dspy.Signature], style: Style, text: str, *, cut: bool) -> dict[str, Any]:
    """By name; None where the text does not hold them, with a note of why in the run record.

    cut: whether a token limit ended the text. An answer that stands inside of the thinking counts.
    """
    try:
        fields = dict(parse(signature, style, text, "length" if cut else "stop").fields)
    except AdapterParseError as error:
        rf.note(f"its fields could not be read: {error}"[:200], repair=False)
        return dict.fromkeys(signature.output_fields)
    name = answer_field(signature)
    if style == "boxed" and fields[name] is None and (inside := extract_answer(text)).repair is None:
        rf.note("the answer stands inside the thinking", repair=False)
        fields.update({key: inside.answer if key == name else inside.reasoning for key in fields})
    return fields
