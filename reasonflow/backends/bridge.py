"""`rf.vllm(...)`, `rf.openai(...)` and `rf.scripted(...)`: plain `dspy.LM`s over our engines."""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import dspy

from reasonflow.backends.handles import AsyncEngineHandle, EngineHandle
from reasonflow.backends.registry import EngineSpec
from reasonflow.backends.script import Script
from reasonflow.backends.scripted import ScriptedBackend
from reasonflow.backends.secret import Secret
from reasonflow.backends.translation import PER_CALL, PER_ENGINE
from reasonflow.errors import UnknownName

_LM = frozenset({"callbacks", "num_retries"})
"""Options of `dspy.LM` itself."""


def vllm(
    model: str,
    *,
    temperature: float | None = None,
    max_tokens: int | None = None,
    seed: int | None = None,
    **options: Any,
) -> dspy.LM:
    """A language model on a vLLM engine in this process. Nothing starts before the first request.

    model: a Hugging Face name, a folder, or "embedded" for the laboratory model that is built in.
    seed: equal requests then give equal samples; without one every request draws anew.
    options: further sampling options (`top_p`, `top_k`, `stop`, `min_p`, `repetition_penalty`, `priority`, ...), the
        engine's own, and `callbacks` or `num_retries` of `dspy.LM`. Equal engine options share the running engine.
    Raises UnknownName for an unknown option.
    """
    from reasonflow.backends.vllm import VllmBackend

    calls = {"temperature": temperature, "max_tokens": max_tokens, "seed": seed}
    engine, calls, settings = _sorted_options(options, calls, keywords(VllmBackend), _passed_on)
    engine = {name: str(value) if isinstance(value, Path) else value for name, value in engine.items()}
    return make_lm(EngineSpec(kind="vllm", model=model.rstrip("/") or model, options=engine), settings, **calls)


def openai(
    model: str,
    *,
    base_url: str,
    api_key: str | None = None,
    temperature: float | None = None,
    max_tokens: int | None = None,
    seed: int | None = None,
    **options: Any,
) -> dspy.LM:
    """A language model on a server that already runs: vLLM's own, SGLang, or another that speaks OpenAI's API.

    model: the name the server knows it by. base_url: its address with the version, "http://localhost:8000/v1".
    api_key: is never shown or saved; `api_key_env="OPENAI_API_KEY"` names a variable instead, and can be saved.
    seed: equal requests then give equal samples, as far as the server repeats itself.
    options: as for `vllm`; the engine's own are `api_key_env`, `tokenizer`, `window`, `max_running`, `timeout_s`,
        `extra_body`, `headers` and `limit`: see `OpenAIBackend`. Equal engine options share connections.
    """
    from reasonflow.backends.openai import OpenAIBackend
    from reasonflow.backends.openai_http import checked_url

    calls = {"temperature": temperature, "max_tokens": max_tokens, "seed": seed}
    engine, calls, settings = _sorted_options(options, calls, keywords(OpenAIBackend))
    engine = {name: str(value) if isinstance(value, Path) else value for name, value in engine.items()}
    engine["base_url"] = checked_url(base_url)
    if api_key is not None:
        engine["api_key"] = Secret(api_key)
    return make_lm(EngineSpec(kind="openai", model=model, options=engine), settings, **calls)


def scripted(
    answer: Script,
    *,
    model: str = "scripted",
    temperature: float | None = None,
    max_tokens: int | None = None,
    seed: int | None = None,
    **options: Any,
) -> dspy.LM:
    """A language model whose answers are given, for tests and simulations: see `ScriptedBackend`.

    options: as for `vllm`; the engine's own are `latency`, `clock`, `window`, `block_size`, `max_running`, `kv_blocks`,
        `top_logprobs`.
    Every call opens an engine of its own.
    """
    calls = {"temperature": temperature, "max_tokens": max_tokens, "seed": seed}
    engine, calls, settings = _sorted_options(options, calls, keywords(ScriptedBackend) - {"answer"})
    spec = EngineSpec(kind="scripted", model=model, options={"answer": answer, **engine}, instance=uuid.uuid4().hex)
    return make_lm(spec, settings, **calls)


def make_lm(spec: EngineSpec, settings: Mapping[str, Any] | None = None, **lm_options: Any) -> dspy.LM:
    """A `dspy.LM` over the engine of this specification.

    settings: sampling options DSPy refuses in calls. lm_options: `dspy.LM`'s own, and the sampling options of calls.
    """
    handle = EngineHandle(spec, settings)
    # DSPy keys its cache by model name and request: it would take another engine's answers for ours, and every sample
    # for the first.
    return dspy.LM(spec.model, engine=handle, async_engine=AsyncEngineHandle(handle), cache=False, **lm_options)


def keywords(make: Callable[..., Any]) -> frozenset[str]:
    """Names of what `make` takes by keyword."""
    kinds = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return frozenset(p.name for p in inspect.signature(make).parameters.values() if p.kind in kinds)


def _passed_on(name: str) -> bool:
    """Whether vLLM takes the option; without vLLM nobody can say, and the start of the engine will tell."""
    from reasonflow.backends.vllm_versions import engine_arguments

    arguments = engine_arguments()
    return not arguments or name in arguments


def _sorted_options(
    options: Mapping[str, Any],
    calls: Mapping[str, Any],
    engine_names: frozenset[str],
    passed_on: Callable[[str], bool] = lambda name: False,
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """(for the engine, for DSPy's LM, for every call on our side).

    passed_on: whether the engine hands a further name to what it is built on.
    """
    engine: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    known = PER_CALL | PER_ENGINE | _LM | (engine_names - {"model"})
    # DSPy drops a None only for the options it names itself.
    lm = {name: value for name, value in calls.items() if value is not None}
    for name, value in options.items():
        if name in PER_CALL or name in _LM:
            lm[name] = value
        elif name in PER_ENGINE:
            settings[name] = value
        elif name in known or passed_on(name):
            engine[name] = value
        else:
            raise UnknownName.among("option", name, known)
    return engine, lm, settings
