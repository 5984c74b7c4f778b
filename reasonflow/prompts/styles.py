"""How a call site's answer is written: boxed in free text, as the whole text, in DSPy's marked fields, as Yes or No."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal, TypeAlias, get_args

import dspy

from reasonflow.errors import ProgramError, UnknownName

Style: TypeAlias = Literal["boxed", "text", "fields", "verdict"]
"""boxed: reasoning as free text, the answer in \\boxed{}. text: the whole text is the single output field.
fields: what the DSPy adapter writes and reads. verdict: Yes or No; the single output is the probability of Yes."""

STYLES: tuple[str, ...] = get_args(Style)
REASONING = "reasoning"
"""The output field that holds free-form reasoning. It is never an answer."""


def choose_style(signature: type[dspy.Signature], asked: Style | None = None) -> Style:
    """The style of a call site: the one asked for if the signature can carry it, or else the best that can.

    Without a wish: boxed for a single string answer, since small models reason better in free text than in marked
    fields; DSPy's fields for anything else. Raises UnknownName, and ProgramError where the signature cannot carry it.
    """
    answers = _answers(signature)  # type: ignore[arg-type]  # as in `effective_signature`
    if not answers:
        raise ProgramError(
            "the signature has no output field",
            why=f"its fields are {', '.join(signature.fields) or 'none'}; the model would have nothing to answer",
            fix='name what the model should produce after the arrow: "question -> answer"',
        )
    if asked is None:
        single = len(answers) == 1 and signature.output_fields[answers[0]].annotation is str
        return "boxed" if single else "fields"
    if asked not in STYLES:
        raise UnknownName.among("style", asked, STYLES)
    if asked != "fields" and len(answers) != 1:
        raise ProgramError(
            f"style {asked!r} needs exactly one output field",
            why=f"the signature has {len(answers)}: {', '.join(answers)}",
            fix='use style="fields", or a signature with one output',
        )
    if asked == "verdict" and signature.output_fields[answers[0]].annotation is not float:
        raise ProgramError(
            "style 'verdict' gives a probability",
            why=f"the output {answers[0]!r} is no float",
            fix=f'declare it so: "... -> {answers[0]}: float"',
        )
    if asked in ("text", "verdict") and REASONING in signature.output_fields and answers != (REASONING,):
        raise ProgramError(
            f"style {asked!r} has no room for a reasoning field",
            why="the whole text becomes the single output",
            fix=f'drop `{REASONING}` from the signature, or use style="boxed"',
        )
    return asked


def answer_field(signature: type[dspy.Signature]) -> str:
    """Name of the field that holds the answer: the first output that is not the reasoning."""
    return _answers(signature)[0]  # type: ignore[arg-type]  # as in `effective_signature`


def effective_signature(signature: type[dspy.Signature], style: Style) -> type[dspy.Signature]:
    """The signature a call in this style fills: boxed gains `reasoning` in front, unless it is there.

    The field is real, so demos bootstrapped from traces hold the reasoning and teach it.
    """
    if style != "boxed" or REASONING in signature.output_fields:
        return signature
    return _with_reasoning(signature)  # type: ignore[arg-type]  # mypy takes classes of untyped packages as unhashable


@lru_cache(maxsize=512)  # building a signature class takes a millisecond of pydantic
def _with_reasoning(signature: Any) -> type[dspy.Signature]:
    extended: type[dspy.Signature] = signature.prepend(REASONING, dspy.OutputField(desc=f"${{{REASONING}}}"), type_=str)
    return extended


@lru_cache(maxsize=512)  # DSPy goes through the fields for every question, which is asked of every sample
def _answers(signature: Any) -> tuple[str, ...]:
    outputs = tuple(signature.output_fields)
    # A signature that asks for nothing but reasoning means it as the answer.
    return tuple(name for name in outputs if name != REASONING) or outputs
