"""A context: the token ids of a prompt and of all that was written and put in behind it, to be continued as they are.

Text that is decoded and encoded again may come out as other tokens, and then nothing behind the difference is found in
the engine's cache. So what a model wrote stays as it was, and only what is put in is encoded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from reasonflow.backends.protocol import Completion, Message, Prompt, Tokenizer, Tokens
from reasonflow.errors import BackendError, InputError
from reasonflow.prompts.neutralise import neutralise
from reasonflow.prompts.render import PromptTemplate

AFTER, ROOM = "after", "room"
"""What a call that continues a context takes: the context, and how many tokens it may write."""
_SEAM = 8
"""Tokens in front that are decoded along: many tokenizers drop a space at the beginning of a text."""


@dataclass(frozen=True, slots=True, eq=False)
class Context:
    """Immutable: whatever goes on from it is another one. Equal where its tokens are."""

    tokens: Tokens
    """All of them: the prompt's, and those behind it."""
    text: str
    """Of what stands behind the prompt."""
    messages: tuple[Message, ...] = field(repr=False)
    """The prompt as a chat."""
    tokenizer: Tokenizer = field(repr=False)
    window: int | None = None
    """Tokens that the engine it comes from takes, of prompt and output together; None where unknown."""
    asked: int = field(default=0, repr=False)
    """So many of its tokens are the prompt's."""

    def alone(self) -> Context:
        """The prompt, with nothing behind it."""
        return replace(self, tokens=self.tokens[: self.asked], text="")

    def then(self, text: str) -> Context:
        """With this text behind it, encoded by itself."""
        return self.behind([(self.tokenizer.encode(text), text)])

    def behind(self, pieces: Iterable[tuple[Tokens, str]]) -> Context:
        """With these pieces behind it, each as (token ids, their text)."""
        tokens, text = list(self.tokens), [self.text]
        for ids, written in pieces:
            tokens += ids
            text.append(written)
        return replace(self, tokens=tuple(tokens), text="".join(text))

    def since(self, earlier: Context) -> tuple[Tokens, str]:
        """What came behind an earlier context that it goes on from, as (token ids, their text)."""
        return self.tokens[len(earlier.tokens) :], self.text[len(earlier.text) :]

    def chat(self) -> tuple[Message, ...]:
        """As a chat: what stands behind the prompt is the beginning of the assistant's turn."""
        return (*self.messages, {"role": "assistant", "content": self.text}) if self.text else self.messages

    def __len__(self) -> int:
        return len(self.tokens)

    def __bool__(self) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Context) and self.tokens == other.tokens

    def __hash__(self) -> int:
        return hash(self.tokens)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextPrompt(Prompt):
    """The prompt of a call that goes on from a context: its own tokens are that context's."""

    context: Context


class ContextTemplate:
    """The prompt of a call site whose completions are contexts: a chat that is begun, or a context that goes on."""

    def __init__(self, begin: PromptTemplate, unmarked: tuple[str, ...] = ()) -> None:
        """unmarked: marks that texts from outside lose: they would pass for the model's own structure."""
        self._begin, self._unmarked = begin, unmarked

    def render(self, inputs: Mapping[str, Any], tokenizer: Tokenizer | None) -> ContextPrompt:
        """Raises BackendError where the engine takes no token ids, and InputError for what is no context."""
        if tokenizer is None:
            raise BackendError(
                "this engine cannot continue a context",
                why="it takes chats and no token ids: what a model wrote could not go on exactly as it was",
                fix="use rf.vllm(...), or rf.openai(...) with the tokenizer of the model that the server runs",
            )
        context = inputs.get(AFTER) if AFTER in inputs else self._begun(inputs, tokenizer)
        if not isinstance(context, Context):
            raise InputError(
                f"after={context!r:.60} is no context",
                why="only what a Continue call gave can go on",
                fix="pass the `context` of its record, or context.then(text)",
            )
        return ContextPrompt(messages=context.chat(), tokens=context.tokens, context=context)

    def _begun(self, inputs: Mapping[str, Any], tokenizer: Tokenizer) -> Context:
        prompt = self._begin.render({name: self._plain(value) for name, value in inputs.items()}, tokenizer)
        assert prompt.tokens is not None, "there is a tokenizer"
        return Context(prompt.tokens, "", prompt.messages, tokenizer, asked=len(prompt.tokens))

    def _plain(self, value: Any) -> Any:
        if isinstance(value, str):
            return neutralise(value, self._unmarked)
        return [self._plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def continued(context: Context, completion: Completion) -> tuple[Context, bool]:
    """The context with what was written behind it, its stop string included; and whether its tokens are the engine's.

    Where the last token reaches beyond the stop string, what belongs to it is encoded again; so is all of the text of a
    server that gives no token ids.
    """
    text = completion.text + (completion.stopped or "")
    kept, shown = _kept(context, completion.tokens, text)
    rest = context.tokenizer.encode(text[shown:]) if shown < len(text) else ()
    return context.behind([((*completion.tokens[:kept], *rest), text)]), bool(kept) or not text


def _kept(context: Context, tokens: Tokens, text: str) -> tuple[int, int]:
    """How many of the tokens write the beginning of the text, and how many of its characters they write."""
    decode, seam = context.tokenizer.decode, context.tokens[-_SEAM:]
    before = len(decode(seam))
    for count in range(len(tokens), max(0, len(tokens) - _SEAM), -1):
        written = decode((*seam, *tokens[:count]))[before:]
        if text.startswith(written):
            return count, len(written)
    return 0, 0
