"""Prompts that read many branches, made to fit the model's window, or what a budget leaves.

What a distiller reads grows with the width of the round before it. Where it would not fit, every branch is cut
evenly to its end, which holds the answer, and the run record says so: losing the start of some drafts beats losing
the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from reasonflow.backends.protocol import Prompt, Tokenizer
from reasonflow.prompts.context import ContextTemplate
from reasonflow.prompts.render import PromptTemplate

_LEAST = 16
"""Tokens of a branch below which it says nothing any more: then the prompt is left to be refused."""
_TRIES = 4
"""Cut texts are encoded anew, and the pieces at the cut may come out a little longer."""


class Fitting:
    """One call's prompt, rendered whole, and shorter ones of the same call in which every branch it reads is cut."""

    def __init__(
        self,
        template: PromptTemplate | ContextTemplate,
        inputs: Mapping[str, Any],
        tokenizer: Tokenizer | None,
        window: int | None,
        max_tokens: int | None,
    ) -> None:
        """max_tokens: of the output; None reserves a quarter of the window."""
        self._template = template
        self._inputs = inputs
        self._tokenizer = tokenizer
        self.whole = template.render(inputs, tokenizer)
        """The prompt with nothing cut."""
        self._room = None
        if window is not None:
            self._room = window - max(1, min(max_tokens or window // 4, window // 2))
        self._window = window

    @cached_property
    def whole_tokens(self) -> int:
        """Tokens of the whole prompt."""
        return prompt_tokens(self.whole)

    @cached_property
    def _branches(self) -> dict[str, list[str | None]]:
        return {name: value for name, value in self._inputs.items() if _is_texts(value)}

    @cached_property
    def _sizes(self) -> list[int]:
        if self._tokenizer is None:
            return []
        encode = self._tokenizer.encode
        return [len(encode(text)) for texts in self._branches.values() for text in texts if text]

    def tokens(self, cap: float) -> int:
        """Tokens of the prompt, nearly, if it reads at most `cap` tokens of each branch."""
        return self.whole_tokens - sum(max(0, size - int(max(cap, _LEAST))) for size in self._sizes)

    def render(self, room: int | None = None) -> tuple[Prompt, str]:
        """The prompt, and what had to be cut so that it has at most `room` tokens and the window holds it and its
        output; empty where nothing had to be."""
        rooms = [limit for limit in (self._room, room) if limit is not None]
        if self._tokenizer is None or self.whole.tokens is None or not rooms:
            return self.whole, ""
        allowed = min(rooms)
        over = len(self.whole.tokens) - allowed
        if over <= 0 or not self._branches:
            return self.whole, ""
        budget = sum(self._sizes) - over
        for _ in range(_TRIES):
            cap = level(self._sizes, budget)
            if cap < _LEAST:
                break
            shorter = self._cut(cap)
            over = len(shorter.tokens or ()) - allowed
            if over <= 0:
                count = sum(size > cap for size in self._sizes)
                limit = f"the window holds {self._window}" if allowed == self._room else f"the budget leaves {allowed}"
                return shorter, f"{count} of {len(self._sizes)} branches cut to their last {cap} tokens: {limit}"
            budget -= over
        return self.whole, ""

    def _cut(self, cap: int) -> Prompt:
        assert self._tokenizer is not None, "without a tokenizer nothing is cut"
        tokenizer = self._tokenizer
        cut = {name: [_end(text, cap, tokenizer) for text in texts] for name, texts in self._branches.items()}
        return self._template.render({**self._inputs, **cut}, tokenizer)


def prompt_tokens(prompt: Prompt) -> int:
    """Its size; where there is no tokenizer a guess of four characters a token."""
    if prompt.tokens is not None:
        return len(prompt.tokens)
    return sum(len(str(message["content"])) for message in prompt.messages) // 4


def level(sizes: list[int], budget: int) -> int:
    """The largest cap with which the sizes, each cut to it, add up to at most `budget`; 0 where there is none."""
    left = budget
    for number, size in enumerate(sorted(sizes)):
        share = left // (len(sizes) - number)
        if size >= share:
            return max(share, 0)
        left -= size
    return max(sizes, default=0)


def _end(text: str | None, cap: int, tokenizer: Tokenizer) -> str | None:
    if not text:
        return text
    tokens = tokenizer.encode(text)
    return text if len(tokens) <= cap else tokenizer.decode(tokens[-cap:])


def _is_texts(value: Any) -> bool:
    return (
        isinstance(value, list)
        and any(isinstance(item, str) for item in value)
        and all(item is None or isinstance(item, str) for item in value)
    )
