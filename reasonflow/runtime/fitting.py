"""Prompts that read many branches, made to fit the model's window.

What a distiller reads grows with the width of the round before it. Where it would not fit, every branch is cut
evenly to its end, which holds the answer, and the run record says so: losing the start of some drafts beats losing
the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reasonflow.backends.protocol import Prompt, Tokenizer
from reasonflow.prompts.render import PromptTemplate

_LEAST = 16
"""Tokens of a branch below which it says nothing any more: then the prompt is left to be refused."""
_TRIES = 4
"""Cut texts are encoded anew, and the pieces at the cut may come out a little longer."""


def render_to_fit(
    template: PromptTemplate,
    inputs: Mapping[str, Any],
    tokenizer: Tokenizer | None,
    window: int | None,
    max_tokens: int | None,
) -> tuple[Prompt, str]:
    """The prompt, and what had to be cut so that the window holds it and its output; empty where nothing had to.

    max_tokens: of the output; None reserves a quarter of the window.
    """
    prompt = template.render(inputs, tokenizer)
    if tokenizer is None or window is None or prompt.tokens is None:
        return prompt, ""
    room = window - max(1, min(max_tokens or window // 4, window // 2))
    over = len(prompt.tokens) - room
    branches = {name: value for name, value in inputs.items() if _is_texts(value)}
    if over <= 0 or not branches:
        return prompt, ""
    sizes = [len(tokenizer.encode(text)) for texts in branches.values() for text in texts if text]
    budget = sum(sizes) - over
    for _ in range(_TRIES):
        cap = level(sizes, budget)
        if cap < _LEAST:
            break
        cut = {name: [_end(text, cap, tokenizer) for text in texts] for name, texts in branches.items()}
        shorter = template.render({**inputs, **cut}, tokenizer)
        over = len(shorter.tokens or ()) - room
        if over <= 0:
            count = sum(size > cap for size in sizes)
            return (
                shorter,
                f"{count} of {len(sizes)} branches cut to their last {cap} tokens: the window holds {window}",
            )
        budget -= over
    return prompt, ""


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
