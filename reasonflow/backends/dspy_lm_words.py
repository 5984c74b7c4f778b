"""Our requests in the words of a `dspy.LM`, and its results and errors in ours."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dspy
from dspy.clients.engines.litellm_errors import to_lm15_error
from dspy.clients.errors import wrap_error
from dspy.clients.legacy_outputs import value
from dspy.utils import exceptions as theirs

from reasonflow.backends.protocol import Completion, FinishReason, Prompt, Request, Sampling, TokenLogprobs, ToolCall
from reasonflow.errors import BackendError, EngineStartError, InputError, PromptTooLong, ReasonFlowError

_CHAT = frozenset({"temperature", "top_p", "max_tokens", "stop", "presence_penalty", "frequency_penalty"})
"""Sampling options that every chat model takes."""
_OPENAI = frozenset({"seed", "logprobs"})
"""Those of OpenAI's own API beyond them."""
_SERVER = frozenset({"top_k", "min_p", "min_tokens", "repetition_penalty", "ignore_eos"})
"""Those that servers such as vLLM's take beyond OpenAI's: they travel in the request's extra body."""
_SERVERS = frozenset({"openai", "hosted_vllm", "custom_openai", "openai_like"})
"""How a model on a server of one's own begins, beside an `api_base`."""
_WITH_TOP_K = frozenset({"anthropic", "gemini", "vertex_ai"})
_FINISHES: Mapping[str | None, FinishReason] = {
    "length": "length",
    "max_tokens": "length",
    "max_output_tokens": "length",
}
_LETTERS = 4
"""Characters that count as one token where nobody counts."""

OF_CALLS = frozenset(Sampling.__dataclass_fields__) | {"n", "rollout_id"}
"""Settings of a language model that reach us with every request: they are not its engine's."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """What one language model can be asked for."""

    options: frozenset[str]
    """Names of sampling options."""
    extra: frozenset[str]
    """Those of them that travel in the extra body."""
    json_schema: bool
    tools: bool


def abilities(lm: dspy.BaseLM, *, seeds: bool) -> Abilities:
    """As far as it is known without asking anybody. seeds: its user says that it takes them."""
    told = frozenset({"seed"}) if seeds else frozenset()
    spec = getattr(lm, "_engine_spec", None)
    if not isinstance(spec, str):  # an engine object, or an LM that is nothing but its `forward`
        named = frozenset(getattr(spec, "supported_params", None) or ()) & OF_CALLS
        schema, tools = (getattr(spec, f"supports_{what}", False) for what in ("response_schema", "function_calling"))
        return Abilities(_CHAT | named | told, frozenset(), bool(schema), bool(tools))
    provider = lm.model.partition("/")[0] if "/" in lm.model else "openai"
    if provider in _SERVERS and (lm.kwargs.get("api_base") or lm.kwargs.get("base_url")):
        extra = frozenset() if spec == "lm15" else _SERVER  # which carries no `extra_body`
        return Abilities(_CHAT | _OPENAI | extra, extra, True, True)
    options = _CHAT | told
    if provider in ("openai", "azure") and "max_completion_tokens" not in lm.kwargs:
        options |= _OPENAI
    if provider in _WITH_TOP_K:
        options |= {"top_k"}
    return Abilities(options, frozenset(), True, True)


def options_of(request: Request, lm: dspy.BaseLM, able: Abilities, index: int) -> dict[str, Any]:
    """What a call for sample `index` says beside its messages. Raises InputError for what the LM cannot carry."""
    sampling = request.sampling
    set_ones = {name: getattr(sampling, name) for name in Sampling.__dataclass_fields__}
    set_ones = {name: found for name, found in set_ones.items() if found not in (None, (), False)}
    schema, seed = set_ones.pop("json_schema", None), set_ones.pop("seed", None)
    for name in set_ones:
        if name not in able.options:
            raise _cannot(name, set_ones[name], lm)
    if seed is not None and "seed" in able.options:
        set_ones["seed"] = seed + index
    if (stop := set_ones.get("stop")) is not None:
        set_ones["stop"] = [stop] if isinstance(stop, str) else list(stop)  # an LM's own `stop` may be one text
    if sampling.logprobs is not None:
        set_ones["logprobs"] = True
        if sampling.logprobs and sampling.logprobs is not True:
            set_ones["top_logprobs"] = sampling.logprobs
    if "max_tokens" in set_ones and "max_completion_tokens" in lm.kwargs:
        set_ones["max_completion_tokens"] = set_ones.pop("max_tokens")
    extra = {name: set_ones.pop(name) for name in able.extra & set_ones.keys()}
    if extra:
        set_ones["extra_body"] = {**(lm.kwargs.get("extra_body") or {}), **extra}
    if schema is not None:
        if not able.json_schema:
            raise _cannot("json_schema", "...", lm)
        form = {"name": "answer", "schema": json.loads(schema), "strict": True}
        set_ones["response_format"] = {"type": "json_schema", "json_schema": form}
    return {**set_ones, **_tools(request.prompt, lm, able)}


def _tools(prompt: Prompt, lm: dspy.BaseLM, able: Abilities) -> dict[str, Any]:
    if not prompt.tools:
        return {}
    if not able.tools:
        raise _cannot("tools", "...", lm)
    found: dict[str, Any] = {"tools": [dict(tool) for tool in prompt.tools]}
    choice = prompt.tool_choice
    if choice is not None:
        named = choice not in ("auto", "none", "required")
        found["tool_choice"] = {"type": "function", "function": {"name": choice}} if named else choice
    return found


def _cannot(name: str, what: Any, lm: dspy.BaseLM) -> InputError:
    return InputError(
        f"{lm.model!r} takes no {name}={what}",
        why="its API has no such option, and leaving it out would sample otherwise than asked for",
        fix=f"leave {name} out for this model, or run a model that takes it: rf.vllm(...), or a server of your own",
    )


@dataclass(frozen=True, slots=True)
class Reply:
    """What one call gave."""

    completion: Completion
    """Its times are not set."""
    estimated: bool
    """Whether the counts are a guess."""
    dropped: frozenset[str]
    """Settings that were not sent although they were asked for, as far as DSPy tells."""


def reply_of(result: Any, request: Request, model: str) -> Reply:
    """A call's result, whatever engine it came from. Raises BackendError where it holds no answer."""
    if not result.outputs:
        raise BackendError(f"{model!r} answered without a choice", why="the reply holds no message", fix="ask again")
    output = result.outputs[0]
    output = output if isinstance(output, dict) else {"text": output}
    text, thinking = output.get("text") or "", output.get("reasoning_content") or ""
    if thinking:
        text = f"<think>{thinking}</think>{text}"
    calls = tuple(map(_tool_call, output.get("tool_calls") or ()))
    usage = result.usage or {}
    asked = _count(usage, "prompt_tokens", "input_tokens")
    written = _count(usage, "completion_tokens", "output_tokens")
    letters = len(text) + sum(len(call.name) + len(call.arguments) for call in calls)
    unknown = not asked or (not written and letters > 0)
    if unknown:
        asked = asked or guessed(sum(len(str(message.get("content") or "")) for message in request.prompt.messages))
        written = written or (guessed(letters) if letters else 0)
    details = value(usage, "prompt_tokens_details") or value(usage, "input_tokens_details")
    completion = Completion(
        text=text,
        output_tokens=written or 0,
        prompt_tokens=asked or 0,
        cached_tokens=value(details, "cached_tokens") if details is not None else None,
        finish_reason=_finish(result),
        logprobs=tuple(map(_logprob, value(output.get("logprobs"), "content") or ())),
        tool_calls=calls,
    )
    return Reply(completion, unknown, _dropped(result))


def guessed(letters: int) -> int:
    """Tokens of so many characters, at least one."""
    return max(1, -(-letters // _LETTERS))


def _count(usage: Any, *names: str) -> int | None:
    return next((found for name in names if (found := value(usage, name)) is not None), None)


def _finish(result: Any) -> FinishReason:
    if result.responses:
        return _FINISHES.get(result.responses[0].finish_reason, "stop")
    choices = value(result.raw, "choices") or ()
    if choices:
        return _FINISHES.get(value(choices[0], "finish_reason"), "stop")
    return _FINISHES.get(value(value(result.raw, "incomplete_details"), "reason"), "stop")


def _dropped(result: Any) -> frozenset[str]:
    changes = [change for reply in result.responses for change in getattr(reply, "adaptations", ())]
    return frozenset(change.field.removeprefix("config.") for change in changes if change.action == "dropped")


def _tool_call(call: Any) -> ToolCall:
    function = value(call, "function")
    return ToolCall(value(call, "id") or "", value(function, "name") or "", value(function, "arguments") or "{}")


def _logprob(token: Any) -> TokenLogprobs:
    top = tuple((value(each, "token"), value(each, "logprob")) for each in value(token, "top_logprobs") or ())
    return TokenLogprobs(value(token, "token"), value(token, "logprob"), top)


def our_error(error: Exception, model: str) -> Exception:
    """An error from behind a language model as ours. A promoted warning stays what it is."""
    if isinstance(error, ReasonFlowError):
        return error
    if isinstance(error.__cause__, ReasonFlowError):  # an engine that is built on ours
        return error.__cause__
    found = error if isinstance(error, theirs.LMError) else wrap_error(to_lm15_error(error, model=model), model=model)
    if isinstance(found, Warning):
        return found
    ours = _translated(found, model)
    ours.__cause__ = error
    return ours


def _translated(error: Exception, model: str) -> ReasonFlowError:
    why = (getattr(error, "message", "") or str(error) or type(error).__name__).strip()
    if isinstance(error, ImportError):
        return EngineStartError(f"{model!r} needs LiteLLM", why=why, fix="pip install litellm")
    if isinstance(error, theirs.ContextWindowExceededError):
        return PromptTooLong(f"the prompt does not fit the window of {model!r}", why=why, fix="shorten the inputs")
    if isinstance(error, theirs.LMUnsupportedFeatureError):
        return InputError(f"{model!r} cannot be asked this", why=why, fix="leave the option out, or use another model")
    if isinstance(error, (theirs.LMAuthError, theirs.LMConfigurationError)):
        return BackendError(f"{model!r} was not let in", why=why, fix="check the LM's api_key and model name")
    if isinstance(error, theirs.LMBillingError):
        return BackendError(f"{model!r} refuses to be used any further", why=why, fix="check the account's quota")
    ours = BackendError(f"{model!r} failed", why=why)
    if isinstance(error, theirs.LMInvalidRequestError):
        ours = BackendError(f"{model!r} refused the request", why=why, fix="check the LM's settings and model name")
    ours.transient = theirs.is_retryable_lm_error(error)
    return ours
