"""What is refused before anything is sent to an engine that takes token ids."""

from __future__ import annotations

from reasonflow.backends.protocol import Tokens
from reasonflow.errors import InputError, PromptTooLong


def check_prompt(tokens: Tokens, window: int | None, label: str, *, whose: str, fix: str) -> None:
    """Raises InputError for an empty prompt, PromptTooLong for one that leaves no room to generate a token.

    label: path of the call; empty for none. whose: the window's owner, as people read it. fix: how it is made larger.
    """
    place = f" of {label}" if label else ""
    if not tokens:
        raise InputError(f"the prompt{place} is empty", why="a model needs at least one token", fix="give it a text")
    if window is not None and len(tokens) >= window:
        raise PromptTooLong(
            f"the prompt{place} has {len(tokens)} tokens; {whose} window holds {window}",
            why="the window must hold the prompt and at least one generated token",
            fix=f"shorten the inputs, or {fix} if the model allows it",
        )


def check_scored_prompt(prompt: Tokens) -> None:
    """Raises InputError where a continuation would have nothing to come after."""
    if not prompt:
        raise InputError(
            "there is nothing to score the continuation after",
            why="the prompt is empty, and a first token has no probability of its own",
            fix="pass at least one token of prompt",
        )
