"""Prompts of call sites that answer in free text: headings instead of marked fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dspy

from reasonflow.backends.protocol import Message
from reasonflow.prompts.answers import extract_answer
from reasonflow.prompts.custom_types import unmarked
from reasonflow.prompts.instructions import custom_instructions
from reasonflow.prompts.layouts import Lead
from reasonflow.prompts.neutralise import neutralise
from reasonflow.prompts.styles import REASONING, Style, answer_field
from reasonflow.prompts.titles import description, heading, title
from reasonflow.prompts.values import Demo, value_text
from reasonflow.prompts.verdict import verdict_word

SYSTEM = "You are a helpful assistant."
"""Always sent: templates with a system turn of their own (Qwen's, SmolLM's) then add none."""
REQUEST = "Reason step by step, and put the final answer within \\boxed{}."
VERDICT = "Begin your answer with Yes or No."
_CLOSING: Mapping[Style, str] = {"boxed": REQUEST, "verdict": VERDICT}


class FreeForm:
    """A call site's parts as free text."""

    def __init__(
        self, signature: type[dspy.Signature], style: Style, demos: Sequence[Demo], lead: Sequence[Lead]
    ) -> None:
        """signature: the effective one."""
        self._signature, self._style, self._demos = signature, style, tuple(demos)
        self._lead = {each.field: each.heading for each in lead}
        described = any(description(*each) for each in signature.input_fields.items())
        self._bare = len(signature.input_fields) == 1 and not lead and not described
        self._fields = tuple((name, field, heading(name, field)) for name, field in signature.input_fields.items())
        self._asked = _asked(signature, style)
        self.closing = _CLOSING.get(style, "")
        """What every call of this style ends in."""
        self._fronts: dict[tuple[str, ...], tuple[Message, ...]] = {}

    def whole(self, inputs: Mapping[str, Any], specials: tuple[str, ...]) -> tuple[Message, ...]:
        """The messages with instructions and demos in front, as DSPy's adapters have them."""
        front = self._fronts.get(specials)
        if front is None:
            front = self._fronts[specials] = self._front(specials)
        return (*front, turn("user", self._body(inputs, specials)))

    def _front(self, specials: tuple[str, ...]) -> tuple[Message, ...]:
        turns = [turn("system", joined(self._asked, self.closing) or SYSTEM)]
        for said, answered in self.demos(specials, closing=""):
            turns += [turn("user", said), turn("assistant", answered)]
        return tuple(turns)

    def instructions(self) -> str:
        """The task, and what of it stands under other words elsewhere."""
        told = []
        for name, field, _ in self._fields:
            where = self._lead.get(name)
            if where is not None and (title(name, field) != where or description(name, field)):
                about = description(name, field)
                told.append(
                    f"{title(name, field)}{f' ({about})' if about else ''} is the text under “## {where}” at the "
                    "beginning."
                )
        return joined(*told, self._asked)

    def demos(self, specials: tuple[str, ...], closing: str | None = None) -> list[tuple[str, str]]:
        """Each as (what the user says, what the assistant answers)."""
        answer = answer_field(self._signature)
        ending = self.closing if closing is None else closing
        return [
            # Instructions stand once, in the last turn: repeated per demo they can outweigh the problem itself.
            (joined(self._body(demo, specials), ending), neutralise(self._answer(demo, answer), specials))
            for demo in self._demos
            # DSPy's labelled sets hold incomplete examples; half a turn would teach half an answer
            if demo.get(answer) is not None and any(demo.get(name) is not None for name, _, _ in self._fields)
        ]

    def rest(self, inputs: Mapping[str, Any], specials: tuple[str, ...]) -> str:
        """What only this call reads."""
        return self._body({name: value for name, value in inputs.items() if name not in self._lead}, specials)

    def _body(self, values: Mapping[str, Any], specials: tuple[str, ...]) -> str:
        sections = []
        for name, field, under in self._fields:
            value = values.get(name)
            if value is not None:
                text = neutralise(value_text(name, field, unmarked(value)), specials)
                sections.append(text if self._bare else f"## {under}\n{text}")
        return "\n\n".join(sections)

    def _answer(self, demo: Demo, answer: str) -> str:
        if self._style == "verdict":
            return verdict_word(demo[answer])
        value = str(demo[answer])
        if self._style == "text":
            return value
        reasoning = str(demo.get(REASONING) or "").strip()
        stated = extract_answer(reasoning)
        if stated.repair is None and stated.answer == value:
            return reasoning  # the model's own words, box included
        return joined(reasoning, f"\\boxed{{{value}}}")


def joined(*parts: str) -> str:
    """The parts that say something, as paragraphs."""
    return "\n\n".join(filter(None, parts))


def turn(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def _asked(signature: type[dspy.Signature], style: Style) -> str:
    """The site's own words for what is wanted."""
    custom = custom_instructions(signature)
    name = answer_field(signature)
    about = description(name, signature.output_fields[name])
    if style == "boxed":
        return joined(custom, f"The answer: {about}" if about else "")
    if style == "verdict":
        return joined(custom, about or ("" if custom else f"{name.replace('_', ' ').capitalize()}?"))
    wanted = about or f"Write the {name.replace('_', ' ')}, and nothing else."
    return joined(custom, wanted if about or not custom else "")
