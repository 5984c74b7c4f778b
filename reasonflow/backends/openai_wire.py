"""Requests as OpenAI's API spells them, and its plain answers in our words.

Every field of `Sampling` goes by the API's name for it. `top_k`, `min_p`, `min_tokens`, `repetition_penalty` and
`ignore_eos` are vLLM's extras (SGLang takes most of them too): they are sent when they are set, and a server that does
not know them refuses the request.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from reasonflow.backends.openai_errors import malformed, transient
from reasonflow.backends.protocol import (
    Completion,
    FinishReason,
    Prompt,
    Request,
    Sampling,
    TokenLogprobs,
    Tokens,
    ToolCall,
)
from reasonflow.errors import BackendError, InputError
from reasonflow.prompts.thinking import THINK

_BY_NAME = (
    "temperature", "top_p", "top_k", "min_p", "max_tokens", "min_tokens", "seed", "presence_penalty",
    "frequency_penalty", "repetition_penalty",
)  # fmt: skip
_FREE_CHOICES = ("auto", "none", "required")
_CHARACTERS_PER_TOKEN = 4
"""Where a server counts nothing."""
MALFORMED = (KeyError, IndexError, TypeError, ValueError, AttributeError, RecursionError)
"""What reading an answer of another form raises."""


class Usage(NamedTuple):
    """What a server says it has counted; None where it says nothing."""

    prompt_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None


NOTHING_SAID = Usage()


def chat_body(model: str, request: Request) -> dict[str, Any]:
    """For /chat/completions."""
    prompt, sampling = request.prompt, request.sampling
    body: dict[str, Any] = {"model": model, "messages": [m if type(m) is dict else dict(m) for m in prompt.messages]}
    _add_sampling(body, sampling)
    if sampling.logprobs is not None:
        body["logprobs"] = True
        body["top_logprobs"] = sampling.logprobs
    if prompt.tools:
        body["tools"] = [dict(tool) for tool in prompt.tools]
        if (choice := prompt.tool_choice) is not None:
            named = {"type": "function", "function": {"name": choice}}
            body["tool_choice"] = choice if choice in _FREE_CHOICES else named
    return body


def tokens_body(model: str, request: Request, tokens: Tokens, window: int | None) -> dict[str, Any]:
    """For /completions, with the prompt as token ids.

    That endpoint writes 16 tokens where nothing is said, and not what the window leaves: so it is said. Raises
    InputError where it cannot be.
    """
    body: dict[str, Any] = {"model": model, "prompt": tokens}
    _add_sampling(body, request.sampling)
    if request.sampling.logprobs is not None:
        body["logprobs"] = request.sampling.logprobs
    if request.sampling.max_tokens is None:
        if window is None:
            raise InputError(
                "nothing says how much may be generated",
                why="the request sets no max_tokens, and the server does not tell its window",
                fix="set max_tokens, or open it with window=...",
            )
        body["max_tokens"] = window - len(tokens)
    return body


def score_body(model: str, tokens: Tokens) -> dict[str, Any]:
    """For /completions: the log-probability of every prompt token, by vLLM's `prompt_logprobs`."""
    return {"model": model, "prompt": tokens, "max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0}


def prompt_logprobs(content: bytes, tokens: Tokens, count: int) -> tuple[float, ...]:
    """Of the last `count` of the prompt's tokens. Raises BackendError where the answer has none."""
    try:
        entries = orjson.loads(content)["choices"][0].get("prompt_logprobs")
        if entries is None:
            raise BackendError(
                "the server gives no log-probabilities of a prompt",
                why="it ignored `prompt_logprobs`, which is vLLM's own",
                fix="score with a vLLM server, or with rf.vllm(...)",
            )
        if len(entries) != len(tokens):
            raise malformed(f"{len(entries)} prompt_logprobs for {len(tokens)} tokens")
        pairs = zip(tokens[-count:], entries[-count:], strict=True)
        return tuple(min(0.0, float(entry[str(token)]["logprob"])) for token, entry in pairs)
    except MALFORMED as error:
        raise malformed(f"{type(error).__name__}: {error}") from error


def completion(content: bytes, request: Request, total_s: float) -> Completion:
    """The one sample of a plain answer. Raises a transient BackendError for what is none."""
    try:
        answer = orjson.loads(content)
        choice, usage = answer["choices"][0], usage_of(answer.get("usage"))
        message = choice.get("message")
        calls: tuple[ToolCall, ...] = ()
        if message is None:
            text = text_of(choice["text"])
        else:
            text = _with_thinking(reasoning_of(message), text_of(message.get("content")))
            if found := message.get("tool_calls"):
                calls = tuple(ToolCall(str(call["id"]), *_function(call["function"])) for call in found)
        tokens = token_ids(choice.get("token_ids"))
        logprobs = logprobs_of(choice.get("logprobs"), request.sampling.logprobs)
        output, size = usage.output_tokens, usage.prompt_tokens
        return Completion(
            text=text,
            tokens=tokens,
            output_tokens=output if output is not None else len(tokens) or len(logprobs) or guess(text),
            prompt_tokens=size if size is not None else prompt_size(request.prompt),
            cached_tokens=usage.cached_tokens,
            finish_reason=finish_reason(choice["finish_reason"]),
            stopped=stopped_by(choice),
            total_s=total_s,
            logprobs=logprobs,
            tool_calls=calls,
        )
    except MALFORMED as error:
        raise malformed(f"{type(error).__name__}: {error}") from error


def served(content: bytes, model: str) -> tuple[str, int | None]:
    """(who serves, the window) as the list of models says: ("", None) where it does not."""
    try:
        cards = orjson.loads(content)["data"]
        card: Mapping[str, Any] = next((card for card in cards if card["id"] == model), {})
        window = card.get("max_model_len")
        return str(card.get("owned_by") or ""), window if type(window) is int and window > 0 else None
    except MALFORMED:
        return "", None  # a server without such a list is none the worse for it


def usage_of(said: Any) -> Usage:
    """Raises TypeError for counts that are none."""
    if said is None:
        return Usage()
    details = said.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if details else None
    return Usage(_count(said.get("prompt_tokens")), _count(said.get("completion_tokens")), _count(cached))


def finish_reason(said: Any) -> FinishReason:
    """Ours for theirs. A text that a server's content filter cut counts as ended. Raises where the server gave up."""
    if said in ("abort", "error"):
        raise transient("the server gave up on a sample", f"its finish reason is {said!r}")
    return "length" if said == "length" else "stop"


def text_of(said: Any) -> str:
    """Raises TypeError for what is no text."""
    if said is None:
        return ""
    if type(said) is not str:
        raise TypeError(f"a text is a {type(said).__name__}")
    return said


def reasoning_of(message: Mapping[str, Any]) -> str:
    """A message's thinking, which newer servers call `reasoning`."""
    return text_of(message.get("reasoning_content") or message.get("reasoning"))


def token_ids(said: Any) -> Tokens:
    """Raises TypeError for what are no ids."""
    if not said:
        return ()
    if any(type(token) is not int for token in said):
        raise TypeError("a token id is no number")
    return tuple(said)


def logprobs_of(said: Any, most: int | None) -> tuple[TokenLogprobs, ...]:
    """In either of the API's two forms. most: the likeliest asked for; None: nothing was asked."""
    if most is None or not said:
        return ()
    if "content" in said:
        return tuple(
            TokenLogprobs(
                str(entry["token"]),
                float(entry["logprob"]),
                _ranked(((top["token"], top["logprob"]) for top in entry.get("top_logprobs") or ()), most),
            )
            for entry in said["content"] or ()
        )
    tops: Sequence[Any] = said.get("top_logprobs") or [None] * len(said["tokens"])
    rows = zip(said["tokens"], said["token_logprobs"], tops, strict=True)
    return tuple(
        TokenLogprobs(str(token), float(logprob), _ranked((top or {}).items(), most)) for token, logprob, top in rows
    )


def prompt_size(prompt: Prompt) -> int:
    """Tokens, where the server has not said; a guess if the prompt is no token ids."""
    if prompt.tokens is not None:
        return len(prompt.tokens)
    return max(1, sum(len(str(message.get("content") or "")) for message in prompt.messages) // _CHARACTERS_PER_TOKEN)


def guess(text: str) -> int:
    """Tokens of a text that nobody has counted."""
    return max(1, len(text) // _CHARACTERS_PER_TOKEN)


def stopped_by(choice: Mapping[str, Any]) -> str | None:
    """The stop string that ended a sample, where the server says it: vLLM's name for it, then SGLang's."""
    said = choice.get("stop_reason") or choice.get("matched_stop")
    return said if isinstance(said, str) else None


def _add_sampling(body: dict[str, Any], sampling: Sampling) -> None:
    for name in _BY_NAME:
        if (value := getattr(sampling, name)) is not None:
            body[name] = value
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if sampling.ignore_eos:
        body["ignore_eos"] = True
    if sampling.keep_special:
        body["skip_special_tokens"] = False
    if sampling.json_schema is not None:
        body["response_format"] = _response_format(sampling.json_schema)


def _response_format(schema: str) -> dict[str, Any]:
    try:
        parsed = json.loads(schema)
    except ValueError as error:
        raise InputError("json_schema is no JSON", why=str(error), fix="give the text of a JSON schema") from error
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": parsed, "strict": True}}


def _with_thinking(thinking: str, text: str) -> str:
    """One text, as a model without the server's parser writes it. A thought without a text behind it is left open."""
    if not thinking:
        return text
    return f"{THINK.open}{thinking}{THINK.close}{text}" if text else f"{THINK.open}{thinking}"


def _function(said: Mapping[str, Any]) -> tuple[str, str]:
    return text_of(said["name"]), text_of(said.get("arguments"))


def _ranked(top: Iterable[tuple[Any, Any]], most: int) -> tuple[tuple[str, float], ...]:
    """The likeliest first: vLLM puts the chosen token in front of them, even where it is none of them."""
    pairs = [(str(token), float(logprob)) for token, logprob in top]
    return tuple(sorted(pairs, key=lambda pair: -pair[1])[:most])


def _count(said: Any) -> int | None:
    if said is not None and (type(said) is not int or said < 0):
        raise TypeError(f"a count is {said!r:.40}")
    return said
