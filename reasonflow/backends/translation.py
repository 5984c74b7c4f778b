"""DSPy's canonical requests, responses and errors (lm15) in our words, and back."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from dspy import lm15
from dspy.clients.engines.base import validate_request

from reasonflow.backends.protocol import (
    Backend,
    Capabilities,
    Completion,
    Message,
    Prompt,
    Request,
    Sampling,
    TokenLogprobs,
)
from reasonflow.backends.tools import offered
from reasonflow.errors import (
    BackendError,
    EngineDead,
    EngineStartError,
    InputError,
    ProgramError,
    PromptTooLong,
    UnknownName,
)
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
_EXTENSIONS = PER_ENGINE - _NO_SAMPLING
"""Those of them that a typed request may carry among its extensions."""

# What we cannot honour is refused rather than dropped; `cache` and `user_id` change nothing on a local engine.
_UNSUPPORTED = ("reasoning", "service_tier", "store")
_ROLES = {"developer": "system"}


def check_settings(settings: Mapping[str, Any]) -> None:
    """Raises UnknownName for a name that is no engine-wide sampling option."""
    for name in settings:
        if name not in PER_ENGINE:
            raise UnknownName.among("sampling option", name, PER_CALL | PER_ENGINE)


def supported(can: Capabilities) -> frozenset[str]:
    """The parameters of DSPy's calls that an engine can honour, by the names DSPy's adapters ask for."""
    names = set(PER_CALL)
    if can.json_schema:
        names.add("response_format")
    if can.top_logprobs:
        names |= {"logprobs", "top_logprobs"}
    if can.tools:
        names |= {"tools", "tool_choice"}
    return frozenset(names)


def fresh_seed() -> int:
    """For a request without one: DSPy asks for n samples by n equal requests."""
    return secrets.randbits(31)


def our_request(request: Any, backend: Backend, settings: Mapping[str, Any]) -> Request:
    """An lm15 request as ours; its seed is None where it has none.

    Raises TypeError and ValueError for what is no engine's request, lm15's UnsupportedFeatureError for what this engine
    cannot do.
    """
    validate_request(request)
    can, config = backend.capabilities, request.config
    for name in _UNSUPPORTED:
        if getattr(config, name) is not None:
            raise _unsupported(f"config.{name}", name)
    if config.probabilities == "required":
        raise _unsupported("config.probabilities", "probabilities of a schema's keys")
    chosen = {name: value for name, value in settings.items() if name not in _NO_SAMPLING}
    chosen |= _extensions(config.extensions)
    chosen |= {name: value for name in PER_CALL if (value := getattr(config, name)) is not None}
    if config.logprobs is not None:
        chosen["logprobs"] = _logprobs(config.logprobs, can)
    if config.response_format is not None:
        chosen["json_schema"] = _schema(config.response_format, can)
    tools, choice = _tools(request, can)
    tokenizer = backend.tokenizer
    messages = neutralise_messages(_messages(request), specials_of(tokenizer))
    prompt = Prompt(messages=messages, tools=tools, tool_choice=choice)
    tokens = None
    if tokenizer is not None and can.token_prompts:
        tokens = tokenizer.render(messages, offered(prompt))
    return Request(
        prompt=Prompt(messages=messages, tokens=tokens, tools=tools, tool_choice=choice),
        sampling=Sampling(**chosen),
        priority=settings.get("priority", 0),
    )


def their_response(completion: Completion, request: Request, asked: Any, *, opened: bool) -> Any:
    """A completion as an lm15 response, its thinking in a part of its own.

    asked: the lm15 request. Raises lm15's ProviderError for a tool call whose arguments are no JSON object.
    """
    text = completion.text
    parts: list[Any] = []
    if opened or "think>" in text:
        thinking, text = split_thinking(text, opened=opened)
        if thinking:
            parts.append(lm15.ThinkingPart(thinking))
    if text or not completion.tool_calls:
        parts.append(lm15.TextPart(text))
    parts += [lm15.ToolCallPart(id=call.id, name=call.name, input=_arguments(call)) for call in completion.tool_calls]
    logprobs = their_logprobs(completion.logprobs) if asked.config.logprobs is not None else None
    return lm15.Response(
        id=None,
        model=asked.model,
        message=lm15.Message.assistant(parts),
        finish_reason=finish_reason(completion),
        usage=usage(completion),
        logprobs=logprobs,
        provider_data=None if request.sampling.seed is None else {"seed": request.sampling.seed},
        adaptations=_adaptations(asked.config),
    )


def start_event(asked: Any) -> Any:
    """What a stream begins with."""
    return lm15.StreamStartEvent(model=asked.model, adaptations=_adaptations(asked.config))


def their_logprobs(logprobs: Sequence[TokenLogprobs]) -> tuple[Any, ...]:
    """One per token."""
    return tuple(
        lm15.TokenLogprob(
            token=each.token,
            logprob=each.logprob,
            top=tuple(lm15.TopLogprob(token=token, logprob=value) for token, value in each.top),
        )
        for each in logprobs
    )


def finish_reason(completion: Completion) -> str:
    if completion.tool_calls:
        return "tool_call"
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
    if isinstance(error, ProgramError):
        return lm15.ConfigurationError(message)
    return error


def _extensions(extensions: Mapping[str, Any] | None) -> dict[str, Any]:
    found = dict(extensions or {})
    for name in found:
        if name not in _EXTENSIONS:
            raise _unsupported("config.extensions", f"{name!r}")
    return found


def _logprobs(asked: int, can: Capabilities) -> int:
    if asked > can.top_logprobs or not can.top_logprobs:
        most = f"at most {can.top_logprobs} at each place" if can.top_logprobs else "none"
        raise lm15.UnsupportedFeatureError(
            f"the engine reports {most} of the {asked} log-probabilities asked for"
            "\nfix: ask for fewer, or open a vLLM engine with max_logprobs=...",
            feature="config.logprobs",
        )
    return asked


def _schema(response_format: Mapping[str, Any], can: Capabilities) -> str:
    if not can.json_schema:
        raise _unsupported("config.response_format", "JSON schemas")
    if response_format["type"] == "json_object":
        return json.dumps({"type": "object"})
    return json.dumps(response_format["schema"])


def _tools(request: Any, can: Capabilities) -> tuple[tuple[Mapping[str, Any], ...], str | None]:
    """(the tools as OpenAI's API spells them, the choice)."""
    if not request.tools:
        return (), None
    tools: list[dict[str, Any]] = []
    choice = request.config.tool_choice
    allowed = choice.allowed if choice is not None and choice.allowed else None
    for tool in request.tools:
        if tool.type != "function":
            raise _unsupported("tools", f"built-in tool {tool.name!r}")
        if allowed is None or tool.name in allowed:
            function = {"name": tool.name, "parameters": dict(tool.parameters)}
            if tool.description is not None:
                function["description"] = tool.description
            tools.append({"type": "function", "function": function})
    mode = None if choice is None else choice.mode
    if not can.tools and mode != "none" and not (mode == "required" and can.json_schema):
        raise lm15.UnsupportedFeatureError(
            "this engine cannot tell a tool call from a text"
            "\nfix: open a vLLM engine with tool_call_parser=..., or require a call where it follows JSON schemas",
            feature="tools",
        )
    only = mode == "required" and len(tools) == 1
    return tuple(tools), tools[0]["function"]["name"] if only else mode


def _arguments(call: Any) -> dict[str, Any]:
    try:
        found = json.loads(call.arguments)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise lm15.ProviderError(
            f"the model calls the tool {call.name!r} with arguments that are no JSON object: {call.arguments[:200]!r}"
            '\nfix: ask again, or force a valid call with tool_choice="required"'
        )
    return found


def _adaptations(config: Any) -> tuple[Any, ...]:
    """What was asked for and changes nothing here."""
    found = []
    if config.probabilities is not None:
        reason = "The engine measures no distribution over a schema's keys."
        found.append(
            lm15.Adaptation(field="config.probabilities", action="dropped", asked=config.probabilities, reason=reason)
        )
    if config.tool_choice is not None and config.tool_choice.parallel is not None:
        reason = "The engine cannot say how many tools a model calls at once."
        asked = config.tool_choice.parallel
        found.append(lm15.Adaptation(field="config.tool_choice.parallel", action="dropped", asked=asked, reason=reason))
    return tuple(found)


def _messages(request: Any) -> Iterator[Message]:
    if request.system is not None:
        system = request.system
        yield {"role": "system", "content": system if isinstance(system, str) else _text(system)}
    for message in request.messages:
        results = [part for part in message.parts if part.type == "tool_result"]
        for part in results:
            yield {"role": "tool", "tool_call_id": part.id, "content": _text(part.content)}
        calls = [part for part in message.parts if part.type == "tool_call"]
        rest = [part for part in message.parts if part.type not in ("tool_result", "tool_call")]
        if rest or calls or not results:
            turn = {"role": _ROLES.get(message.role, message.role), "content": _text(rest)}
            yield {**turn, "tool_calls": [_call(part) for part in calls]} if calls else turn


def _call(part: Any) -> dict[str, Any]:
    arguments = json.dumps(part.input, ensure_ascii=False)
    return {"id": part.id, "type": "function", "function": {"name": part.name, "arguments": arguments}}


def _text(parts: Any) -> str:
    texts = []
    for part in parts:
        if part.type == "thinking":
            continue  # an earlier turn's thinking stays out of the prompt, as chat templates themselves do it
        if part.type == "data":
            texts.append(json.dumps(part.value, ensure_ascii=False))
            continue
        if part.type not in ("text", "refusal"):
            raise _unsupported("messages", f"{part.type} parts")
        texts.append(part.text)
    return "".join(texts)


def _unsupported(feature: str, what: str) -> Any:
    return lm15.UnsupportedFeatureError(
        f"this engine takes no {what} in a DSPy call\nfix: leave it out of the call and of the LM's settings",
        feature=feature,
    )
