"""One call's messages, from its signature, style, demos, layout and inputs.

Where the layout shares, what several stages read stands in front and what is a stage's own behind: a constant system
turn, the shared inputs, then instructions, demos and the other inputs. Stages that read the same inputs then share that
prefix. Else the messages stand as DSPy's adapters have them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import dspy

from reasonflow.backends.protocol import Message, Prompt, Tokenizer
from reasonflow.prompts.adapted import Adapted, default_adapter, has_history, has_own_format
from reasonflow.prompts.custom_types import expanded, refuse_media, unmarked
from reasonflow.prompts.free_form import SYSTEM, FreeForm, joined, turn
from reasonflow.prompts.layouts import Layout, Lead, Order
from reasonflow.prompts.neutralise import CHAT_CONTROLS, neutralise, specials_of
from reasonflow.prompts.styles import Style, effective_signature
from reasonflow.prompts.values import Demo, value_text

WORTH_SHARING = 4096
"""Characters from which on "auto" puts a value in front: about 1,000 tokens, which an H100 computes in 25 ms for 8
billion parameters. Shorter ones stay where a model expects them: with a heading over its problem, the built-in model
fell from 98 to 20 of 100 (60 problems of `graphmath:mid`)."""
EXAMPLES = "First come examples of the task, each with inputs of its own."
TASK = "Now the task itself, about what stands at the beginning under {headings}."


def render_messages(
    signature: type[dspy.Signature],
    style: Style,
    demos: Sequence[Demo],
    inputs: Mapping[str, Any],
    adapter: dspy.Adapter | None = None,
    layout: Layout | Order = "auto",
) -> tuple[Message, ...]:
    """The messages of one call. For many calls of one site keep a `PromptTemplate`."""
    return PromptTemplate(signature, style, demos, adapter, layout).messages(inputs)


def can_share(signature: type[dspy.Signature], style: Style, adapter: dspy.Adapter | None, order: Order) -> bool:
    """Whether a layout may put inputs of such a site in front: not where the adapter, or a history, decides."""
    return order != "dspy" and (style != "fields" or not (has_own_format(adapter) or has_history(signature)))


class PromptTemplate:
    """A call site's prompt with everything compiled that its inputs do not change."""

    def __init__(
        self,
        signature: type[dspy.Signature],
        style: Style,
        demos: Sequence[Demo] = (),
        adapter: dspy.Adapter | None = None,
        layout: Layout | Order = "auto",
    ) -> None:
        self._style = style
        self._layout = layout if isinstance(layout, Layout) else Layout(layout)
        self._signature = effective_signature(signature, style)
        self._fields = self._signature.input_fields
        self._site_demos, self._adapter = tuple(demos), adapter or default_adapter()
        self._can_share = can_share(self._signature, style, adapter, self._layout.order)
        self._behind: dict[tuple[Lead, ...], _Behind] = {}

    def messages(self, inputs: Mapping[str, Any], specials: tuple[str, ...] = CHAT_CONTROLS) -> tuple[Message, ...]:
        """The call's messages, with the `specials` inside the inputs and demos neutralised."""
        led = self._led(inputs) if self._can_share else {}
        behind = self._behind_of(tuple(led))
        if not self._can_share or (not led and (self._style == "fields" or self._layout.order == "auto")):
            return expanded(behind.parts.whole(inputs, specials))
        lead = "\n\n".join(f"## {each.heading}\n{neutralise(text, specials)}" for each, text in led.items())
        demos = behind.demos(specials)
        rest, closing = behind.parts.rest(inputs, specials), behind.parts.closing
        if demos and lead and not self._demos_first(demos, lead):
            (asked, answered), *others = demos
            turns = [(joined(lead, behind.instructions, EXAMPLES, asked), answered), *others]
            last = joined(behind.task, rest, closing)
        else:
            turns = demos
            first = self._style == "fields" or (self._layout.siblings and (lead or self._layout.order == "shared"))
            before, after = (behind.instructions, "") if first else ("", behind.instructions)
            last = joined(lead, before, rest, after, closing)
        found = [turn("system", SYSTEM)]
        for said, answer in turns:
            found += (turn("user", said), turn("assistant", answer))
        return expanded((*found, turn("user", last)))

    def render(self, inputs: Mapping[str, Any], tokenizer: Tokenizer | None) -> Prompt:
        """The call's prompt; with token ids where there is a tokenizer. Raises InputError for what is no text then."""
        if tokenizer is None:
            return Prompt(messages=self.messages(inputs))
        messages = self.messages(inputs, specials_of(tokenizer))
        refuse_media(messages)
        return Prompt(messages=messages, tokens=tokenizer.render(messages))

    def _led(self, inputs: Mapping[str, Any]) -> dict[Lead, str]:
        """What stands in front, and its text: what other calls read too, where it is worth that."""
        found = {}
        for each in self._layout.lead:
            value = inputs.get(each.field)
            if value is not None:
                # Under the common heading, so that the sections of a list have one name for all readers, too.
                text = value_text(each.heading, self._fields[each.field], unmarked(value))
                if self._layout.order == "shared" or len(text) >= WORTH_SHARING:
                    found[each] = text
        return found

    def _behind_of(self, lead: tuple[Lead, ...]) -> _Behind:
        known = self._behind.get(lead)
        if known is None:
            known = _Behind(self._signature, self._style, self._site_demos, self._adapter, lead)
            self._behind[lead] = known
        return known

    def _demos_first(self, demos: list[tuple[str, str]], lead: str) -> bool:
        """Demos are shared with other runs, what leads with other calls of this run: the longer one is worth more."""
        return self._layout.order == "auto" and sum(len(said) + len(answer) for said, answer in demos) > len(lead)


class _Behind:
    """What stands in a site's prompts behind the same lead."""

    def __init__(
        self,
        signature: type[dspy.Signature],
        style: Style,
        demos: Sequence[Demo],
        adapter: dspy.Adapter,
        lead: tuple[Lead, ...],
    ) -> None:
        self.parts: FreeForm | Adapted
        if style == "fields":
            self.parts = Adapted(signature, demos, adapter, lead)
        else:
            self.parts = FreeForm(signature, style, demos, lead)
        self.task = TASK.format(headings=", ".join(f"“## {each.heading}”" for each in lead))
        self._demos: dict[tuple[str, ...], list[tuple[str, str]]] = {}

    @cached_property
    def instructions(self) -> str:
        return self.parts.instructions()

    def demos(self, specials: tuple[str, ...]) -> list[tuple[str, str]]:
        found = self._demos.get(specials)
        if found is None:
            found = self._demos[specials] = self.parts.demos(specials)
        return found
