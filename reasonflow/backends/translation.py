"""DSPy's canonical requests, responses and errors (lm15) in our words, and back."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from dspy import lm15

from reasonflow.backends.protocol import Backend, Completion, Message, Prompt, Request, Sampling
from reasonflow.errors import BackendError, EngineDead, EngineStartError, InputError, PromptTooLong, UnknownName
from reasonflow.prompts.neutralise import neutralise_messages, specials_of
from reasonflow.prompts.thinking import split_thinking

PER_CALL = frozenset(
    {"temperature", "max_tokens", "top_p", "top_k", "stop", "seed", "frequency_penalty", "presence_penalty"}
)
"""Sampling options a DSPy call can carry."""
_NO_SAMPLING = frozenset({"priority", "dollars_per_hour"})
"""Of a language model, but no sampling options: the queue's order, and what an hour of its engine costs."""
PER_ENGINE = frozenset({field.name for field in fields(Sampling)} - PER_CALL) | _NO_SAMPLING
"""Options DSPy refuses in a call: they are fixed on the language model instead."""

# What we cannot honour is refused rather than dropped; `cache` and `user_id` change nothing on a local engine.
_UNSUPPORTED = (
    "response_format", "tool_choice", "reasoning", "service_tier", "store", "logprobs", "probabilities", "extensions",
)  # fmt: skip
_ROLES = {"developer": "system"}


def check_settings(settings: Mapping[str, Any]) -> None:
    """Raises UnknownName for a name that is no engine-wide sampling option."""
    for name in settings:
        if name not in PER_ENGINE:
            raise UnknownName.among("sampling option", name, PER_CALL | PER_ENGINE)


def our_request(request: Any, backend: Backend, settings: Mapping[str, Any]) -> Request:
    """An lm15 request as ours. Without a seed it gets a fresh one: DSPy asks for n samples by n equal requests."""
    for name in _UNSUPPORTED:
        if getattr(request.config, name) is not None:
            raise _unsupported(f"config.{name}", name)
    if request.tools:
        raise _unsupported("tools", "native tool calls")
    config = request.config
    own = {name: value for name, value in settings.items() if name not in _NO_SAMPLING}
    per_call = {name: value for name in PER_CALL if (value := getattr(config, name)) is not None}
    seed = per_call.pop("seed", None)
    sampling = Sampling(**{**own, **per_call}, seed=secrets.randbits(31) if seed is None else seed)
    tokenizer = backend.tokenizer
    messages = neutralise_messages(_messages(request), specials_of(tokenizer))
    tokens = tokenizer.render(messages) if tokenizer is not None and backend.capabilities.token_prompts else None
    return Request(
        prompt=Prompt(messages=messages, tokens=tokens), sampling=sampling, priority=settings.get("priority", 0)
    )


def their_response(completion: Completion, request: Request, model: str, *, opened: bool) -> Any:
    """A completion as an lm15 response, its thinking in a part of its own."""
    text = completion.text
    parts: list[Any] = []
    if opened or "think>" in text:
        thinking, text = split_thinking(text, opened=opened)
        if thinking:
            parts.append(lm15.ThinkingPart(thinking))
    parts.append(lm15.TextPart(text))
    return lm15.Response(
        id=None,
        model=model,
        message=lm15.Message.assistant(parts),
        finish_reason=finish_reason(completion),
        usage=usage(completion),
        provider_data={"seed": request.sampling.seed},
    )


def finish_reason(completion: Completion) -> str:
    return "error" if completion.finish_reason == "cancelled" else completion.finish_reason


def usage(completion: Completion) -> Any:
    return lm15.Usage(
        input_tokens=completion.prompt_tokens,
        output_tokens=completion.output_tokens,
        cache_read_tokens=completion.cached_tokens,
    )


def their_error(error: Exception, model: str) -> Any:
    """Our error as an lm15 exception, others as they are; DSPy retries only those whose cause may pass by itself."""
    message = str(error)
    if isinstance(error, PromptTooLong):
        return lm15.ContextLengthError(message)
    if isinstance(error, EngineStartError):
        return lm15.ConfigurationError(message)
    if isinstance(error, EngineDead):
        fix = "" if error.fix else f"\nfix: close it with lm.engine.close() and open {model!r} again"
        return lm15.ProviderError(message + fix)
    if isinstance(error, BackendError):
        return lm15.ServerError(message) if error.transient else lm15.ProviderError(message)
    if isinstance(error, InputError):
        return lm15.InvalidRequestError(message)
    return error


def _messages(request: Any) -> Iterator[Message]:
    if request.system is not None:
        system = request.system
        yield {"role": "system", "content": system if isinstance(system, str) else _text(system)}
    for message in request.messages:
        yield {"role": _ROLES.get(message.role, message.role), "content": _text(message.parts)}


def _text(parts: Any) -> str:
    texts = []
    for part in parts:
        if part.type == "thinking":
            continue  # an earlier turn's thinking stays out of the prompt, as chat templates themselves do it
        if part.type not in ("text", "refusal"):
            raise _unsupported("messages", f"{part.type} parts")
        texts.append(part.text)
    return "".join(texts)


def _unsupported(feature: str, what: str) -> Any:
    return lm15.UnsupportedFeatureError(
        f"a ReasonFlow engine takes no {what} in a DSPy call\nfix: leave it out of the call and of the LM's settings",
        feature=feature,
    )
