"""What a sample's text means under its call site's style."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import dspy

from reasonflow.backends.protocol import FinishReason, TokenLogprobs
from reasonflow.prompts.adapted import default_adapter
from reasonflow.prompts.answers import extract_answer
from reasonflow.prompts.styles import REASONING, Style, answer_field
from reasonflow.prompts.thinking import THINK, ThinkTags, split_thinking
from reasonflow.prompts.verdict import read_verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """One sample, read."""

    fields: dict[str, Any]
    """Every output field of the effective signature. A boxed answer may be None: the repairs then say why."""
    thinking: str
    """What the model thought to itself. It never enters a later prompt."""
    text: str
    """The solution: the text without the thinking."""
    repairs: tuple[str, ...] = ()
    """What had to be guessed, in words for the run record."""


def parse(
    signature: type[dspy.Signature],
    style: Style,
    text: str,
    finish_reason: FinishReason = "stop",
    adapter: dspy.Adapter | None = None,
    *,
    tags: ThinkTags = THINK,
    opened: bool = False,
    logprobs: tuple[TokenLogprobs, ...] = (),
) -> Parsed:
    """The fields in a sample's text. Only fields raises: what the adapter raises.

    signature: the call site's own; an AdapterParseError carries that very object. opened: as in `split_thinking`.
    logprobs: what a verdict is read from.
    """
    thinking, solution = split_thinking(text, tags, opened=opened)
    repairs: list[str] = []
    if thinking and not solution:
        repairs.append("the text ended inside its thinking")
    elif finish_reason == "length" and style != "verdict":  # which is cut behind its word on purpose
        repairs.append("the text was cut at its token cap")
    if style == "fields":
        fields = (adapter or default_adapter()).parse(signature, solution)
    elif style == "text":
        fields = {answer_field(signature): solution}
    elif style == "verdict":
        verdict = read_verdict(solution, logprobs, tags, opened=opened)
        fields = {answer_field(signature): verdict.score}
        if verdict.repair is not None:
            repairs.append(verdict.repair)
    else:
        extracted = extract_answer(solution)
        fields = {REASONING: extracted.reasoning, answer_field(signature): extracted.answer}
        if extracted.repair is not None:
            repairs.append(extracted.repair)
    return Parsed(fields=fields, thinking=thinking, text=solution, repairs=tuple(repairs))
