"""Equal conditions for every arm on an engine: forced lengths, a cache that knows nothing, and turns that alternate."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from random import Random
from types import MappingProxyType
from typing import Any

import dspy

import reasonflow as rf
from reasonflow.backends import facts
from reasonflow.backends.protocol import Backend, Counters, Forgetting, Tokenizer
from reasonflow.errors import BackendError, InputError
from reasonflow.evals.tasks.lexicon import LEXICONS
from reasonflow.prompts.layouts import Order
from reasonflow.prompts.styles import REASONING
from reasonflow.runtime.runtime import Runtime

SMALL: Mapping[str, Any] = MappingProxyType({"max_model_len": 4096, "max_num_seqs": 32, "num_gpu_blocks_override": 256})
"""The engine on which every benchmark of one fits a minute of two cores: few slots, and a cache of 8,192 tokens that
is soon under pressure."""
LAYOUT: Order = "shared"
"""Of our programs, and of the prompts that are sent by hand."""

ROOMY: Mapping[str, Any] = MappingProxyType({**SMALL, "max_num_seqs": 64, "num_gpu_blocks_override": 1024})
"""The same for a benchmark of answers and not of pressure: more slots, and a cache that holds what they write."""

_LEAVING_S = 5.0
"""How long the samples of a trial that was stopped may take to leave the engine: a step, however slow."""
_LOOK_S = 0.1


def engine_options(given: Mapping[str, Any], size: Mapping[str, Any] = SMALL) -> dict[str, Any]:
    """The options a benchmark's engine is opened with: on a CPU one of this size, but for what is given."""
    return {**(size if facts.device() == "cpu" else {}), **given}


def runtime_of(lm: dspy.LM) -> Runtime:
    """Of one of our language models. Raises InputError for another one."""
    runtime = getattr(getattr(lm, "engine", None), "runtime", None)
    if not isinstance(runtime, Runtime):
        raise InputError(f"{lm.model!r} has no engine of ours", fix="open it with rf.vllm(...) or rf.scripted(...)")
    return runtime


def forced(tokens: int) -> dict[str, Any]:
    """Sampling options with which a sample writes exactly so many tokens."""
    return {"ignore_eos": True, "min_tokens": tokens, "max_tokens": tokens}


def write_exactly(program: rf.Program, tokens: int) -> None:
    """Let every call site that is an attribute of the program write so many tokens; any text is its answer then."""
    for name, site in list(vars(program).items()):
        if isinstance(site, rf.Generate):
            signature = site.signature.delete(REASONING) if REASONING in site.signature.fields else site.signature
            setattr(program, name, rf.Generate(signature, style="text", config={**site.config, **forced(tokens)}))


def start(lm: dspy.LM) -> None:
    """Return when the engine takes requests: its sizes are certain then."""
    runtime = runtime_of(lm)
    runtime.run(lambda: runtime.backend.start())


def forget(lm: dspy.LM) -> None:
    """Empty the engine's prefix cache. Raises InputError where that is not possible."""
    runtime = runtime_of(lm)
    backend: Backend = runtime.backend
    if not isinstance(backend, Forgetting):
        raise InputError(
            f"the prefix cache of {lm.model!r} cannot be emptied",
            why="every trial must begin with a cache that knows nothing",
            fix="measure on rf.vllm(...) or rf.scripted(...)",
        )

    async def emptied() -> None:
        for _ in range(int(_LEAVING_S / _LOOK_S)):
            try:
                return await backend.forget_prefixes()
            except BackendError:
                await asyncio.sleep(_LOOK_S)
        return await backend.forget_prefixes()

    runtime.run(emptied)


def kv_tokens(lm: dspy.LM) -> int:
    """Tokens that the started engine's KV cache holds. Raises InputError where it does not say."""
    found = runtime_of(lm).backend.kv_tokens
    if not found:
        raise InputError(f"{lm.model!r} does not say how much its KV cache holds", fix="measure on rf.vllm(...)")
    return found


def counters(lm: dspy.LM) -> Counters:
    """The engine's own totals."""
    runtime = runtime_of(lm)
    return runtime.run(lambda: runtime.backend.counters())


def turns(arms: Sequence[str], repeats: int) -> Iterator[tuple[int, str]]:
    """(repeat from 1, arm), every other repeat in the opposite order: none profits from always being the first."""
    for repeat in range(1, repeats + 1):
        for arm in arms if repeat % 2 else reversed(arms):
            yield repeat, arm


def check_repeats(repeats: int) -> None:
    """Raises InputError for a number below 1."""
    if repeats < 1:
        raise InputError(f"cannot measure in {repeats} repeats", fix="give a number from 1 up")


def filler(tokenizer: Tokenizer, tokens: int, seed: int) -> str:
    """A text of about so many tokens, at most: words in an order that two seeds do not share."""
    random, names = Random(seed), LEXICONS["market"].names
    words = [random.choice(names) for _ in range(tokens)]  # each takes a token at least
    least, most = 0, tokens
    guess = tokens * 64 // max(1, len(tokenizer.encode(" ".join(words[:64]))))
    while least < most:
        middle = min(max(guess, least + 1), most)
        found = len(tokenizer.encode(" ".join(words[:middle])))
        if found <= tokens:
            least = middle
        else:
            most = middle - 1
        # Words are about equally long: two or three guesses find the place.
        guess = middle + (tokens - found) * middle // max(1, found) + (found <= tokens)
    return " ".join(words[:least])
