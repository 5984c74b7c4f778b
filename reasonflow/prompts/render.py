"""One call's messages, from its signature, style, demos and inputs.

Free-form styles put what several stages read in front and what is a stage's own behind: a constant system turn, the
demos, the inputs, then the instructions and the request. Stages that read the same inputs then share that prefix.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import dspy
from pydantic.fields import FieldInfo

from reasonflow.backends.protocol import Message, Prompt, Tokenizer
from reasonflow.prompts.answers import extract_answer
from reasonflow.prompts.instructions import custom_instructions
from reasonflow.prompts.neutralise import CHAT_CONTROLS, neutralise, neutralise_messages, specials_of
from reasonflow.prompts.styles import REASONING, Style, answer_field, effective_signature
from reasonflow.prompts.values import is_branches, value_text
from reasonflow.prompts.verdict import verdict_word

Demo: TypeAlias = Mapping[str, Any]
Layout: TypeAlias = Literal["shared", "dspy"]
"""Of a free-form prompt. shared: instructions last, behind what several stages read. dspy: instructions first, in the
system turn, as DSPy's adapters have them."""

SYSTEM = "You are a helpful assistant."
"""Always sent: templates with a system turn of their own (Qwen's, SmolLM's) then add none."""
REQUEST = "Reason step by step, and put the final answer within \\boxed{}."
VERDICT = "Begin your answer with Yes or No."


def render_messages(
    signature: type[dspy.Signature],
    style: Style,
    demos: Sequence[Demo],
    inputs: Mapping[str, Any],
    adapter: dspy.Adapter | None = None,
) -> tuple[Message, ...]:
    """The messages of one call. For many calls of one site keep a `PromptTemplate`."""
    return PromptTemplate(signature, style, demos, adapter).messages(inputs)


class PromptTemplate:
    """A call site's prompt with everything compiled that its inputs do not change."""

    def __init__(
        self,
        signature: type[dspy.Signature],
        style: Style,
        demos: Sequence[Demo] = (),
        adapter: dspy.Adapter | None = None,
        layout: Layout = "shared",
    ) -> None:
        self._style, self._layout = style, layout
        self._signature = effective_signature(signature, style)
        self._inputs = tuple(
            (name, field, _heading(name, field)) for name, field in self._signature.input_fields.items()
        )
        self._demos = tuple(demos)
        self._adapter = adapter or default_adapter()
        self._request = "" if style == "fields" else _request(self._signature, style)
        self._heads: dict[tuple[str, ...], tuple[Message, ...]] = {}

    def messages(self, inputs: Mapping[str, Any], specials: tuple[str, ...] = CHAT_CONTROLS) -> tuple[Message, ...]:
        """The call's messages, with the `specials` inside the inputs and demos neutralised."""
        if self._style == "fields":
            prepared = {name: _for_adapter(name, field, inputs.get(name)) for name, field, _ in self._present(inputs)}
            return neutralise_messages(
                self._adapter.format(self._signature, [dict(demo) for demo in self._demos], prepared), specials
            )
        head = self._heads.get(specials)
        if head is None:
            head = self._heads[specials] = self._head(specials)
        request = self._request if self._layout == "shared" else ""
        return (*head, _turn("user", self._joined(self._body(inputs, specials), request)))

    def render(self, inputs: Mapping[str, Any], tokenizer: Tokenizer | None) -> Prompt:
        """The call's prompt; with token ids where there is a tokenizer."""
        if tokenizer is None:
            return Prompt(messages=self.messages(inputs))
        messages = self.messages(inputs, specials_of(tokenizer))
        return Prompt(messages=messages, tokens=tokenizer.render(messages))

    def _head(self, specials: tuple[str, ...]) -> tuple[Message, ...]:
        first = self._layout == "dspy"
        turns = [_turn("system", (first and self._request) or SYSTEM)]
        answer = answer_field(self._signature)
        request = "" if first else {"boxed": REQUEST, "verdict": VERDICT}.get(self._style, "")
        for demo in self._demos:
            if demo.get(answer) is None or not self._present(demo):
                continue  # DSPy's labelled sets hold incomplete examples; half a turn would teach half an answer
            # Instructions stand once, in the last turn: repeated per demo they can outweigh the problem itself.
            turns.append(_turn("user", self._joined(self._body(demo, specials), request)))
            turns.append(_turn("assistant", neutralise(self._answer_turn(demo, answer), specials)))
        return tuple(turns)

    def _answer_turn(self, demo: Demo, answer: str) -> str:
        if self._style == "verdict":
            return verdict_word(demo[answer])
        value = str(demo[answer])
        if self._style == "text":
            return value
        reasoning = str(demo.get(REASONING) or "").strip()
        stated = extract_answer(reasoning)
        if stated.repair is None and stated.answer == value:
            return reasoning  # the model's own words, box included
        return self._joined(reasoning, f"\\boxed{{{value}}}")

    def _body(self, values: Mapping[str, Any], specials: tuple[str, ...]) -> str:
        present = self._present(values)
        if len(self._inputs) == 1 and present:
            name, field, _ = present[0]
            return neutralise(value_text(name, field, values[name]), specials)
        return "\n\n".join(
            f"## {heading}\n{neutralise(value_text(name, field, values[name]), specials)}"
            for name, field, heading in present
        )

    def _present(self, values: Mapping[str, Any]) -> list[tuple[str, FieldInfo, str]]:
        return [entry for entry in self._inputs if values.get(entry[0]) is not None]

    @staticmethod
    def _joined(*parts: str) -> str:
        return "\n\n".join(part for part in parts if part)


@lru_cache(maxsize=1)
def default_adapter() -> dspy.Adapter:
    """DSPy's default adapter without its hidden second call."""
    return dspy.ChatAdapter(use_json_adapter_fallback=False)


def _request(signature: type[dspy.Signature], style: Style) -> str:
    custom = custom_instructions(signature)
    name = answer_field(signature)
    description = _description(name, signature.output_fields[name])
    if style == "boxed":
        wanted = f"The answer: {description}" if description else ""
        return "\n\n".join(part for part in (custom, wanted, REQUEST) if part)
    if style == "verdict":
        asked = description or ("" if custom else f"{name.replace('_', ' ').capitalize()}?")
        return "\n\n".join(part for part in (custom, asked, VERDICT) if part)
    wanted = description or f"Write the {name.replace('_', ' ')}, and nothing else."
    return "\n\n".join(part for part in (custom, wanted if description or not custom else "") if part)


def _heading(name: str, field: FieldInfo) -> str:
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    title = str(extra.get("prefix") or name).rstrip(": ")
    description = _description(name, field)
    return f"{title} ({description})" if description else title


def _description(name: str, field: FieldInfo) -> str:
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    description = str(extra.get("desc") or "")
    return "" if description == f"${{{name}}}" else description.strip()


def _for_adapter(name: str, field: FieldInfo, value: Any) -> Any:
    if is_branches(value) and None in value:
        return value_text(name, field, value)  # adapters would write a hole as a branch that says "None"
    return value


def _turn(role: str, content: str) -> Message:
    return {"role": role, "content": content}
