"""vLLM on this machine, GPU or CPU: the default backend.

On a CPU the engine lives in this process, on a thread of its own; on a GPU its core gets a process, as vLLM wants it.
Constructing a `VllmBackend` costs nothing: the tokenizer, the window and the block size come from the model's small
files, and vLLM is imported by the first request.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import anyio

from reasonflow.backends import facts, hardware, vllm_process, vllm_versions
from reasonflow.backends.deaths import closed
from reasonflow.backends.hf_tokenizer import NO_SYSTEM_TURN, HfTokenizer
from reasonflow.backends.model_files import ModelFiles
from reasonflow.backends.prompt_checks import check_prompt, check_scored_prompt
from reasonflow.backends.protocol import (
    Capabilities,
    Completion,
    Counters,
    Observer,
    Request,
    Tokenizer,
    Tokens,
)
from reasonflow.backends.tools import forced_calls, forced_schema, is_forced, offered, with_calls
from reasonflow.backends.vllm_engine_thread import EngineThread, Sample, SteppedEngine
from reasonflow.backends.vllm_group import SampleGroup
from reasonflow.backends.vllm_settings import VllmSettings
from reasonflow.backends.vllm_versions import VllmEngine
from reasonflow.errors import EngineDead, EngineStartError, InputError

_ACTIVE: dict[EngineThread, str] = {}
"""Engines of this process that were started and are not yet gone, with their models."""
MAX_LOGPROBS = 20
"""vLLM's own limit where `max_logprobs` says nothing."""
WHOLE_VOCABULARY = 1 << 30
"""The limit of an engine that was opened with `max_logprobs=-1`."""
STEP_TIMEOUT_S = 600.0
"""A step computes one prompt at the least: on two slow cores and a model of some billion parameters, a full window of
8192 tokens takes minutes. To wait a little longer for a dead engine is better than to kill a slow one."""
_CLOSE_WAIT_S = 20.0
"""How long a closing engine may take to come out of its step and be freed."""
_KILL_WAIT_S = 10.0
_STARTING = threading.Lock()
"""One start at a time: it changes the process's environment for its duration."""


class VllmBackend:
    """A `Backend` over vLLM 0.25 to 0.33.

    Used from any event loop; the engine itself is touched by one thread only. After `aclose` it answers EngineDead.
    """

    def __init__(
        self,
        model: str,
        *,
        max_model_len: int | None = None,
        block_size: int | None = None,
        max_num_seqs: int | None = None,
        max_num_batched_tokens: int | None = None,
        kv_cache_gib: float | None = None,
        gpu_memory_utilization: float | None = None,
        seed: int = 0,
        verbose: bool = False,
        log_file: str | Path | None = None,
        template_options: Mapping[str, Any] | None = None,
        in_process: bool = True,
        step_timeout_s: float = STEP_TIMEOUT_S,
        tool_call_parser: str | None = None,
        **engine_options: Any,
    ) -> None:
        """Checks names only; nothing is loaded.

        model: "embedded", a folder, or a hub repository. kv_cache_gib: room for the prefix cache (CPU: 2 GiB; GPU: what
        `gpu_memory_utilization` leaves). verbose: vLLM's log on stderr instead of in `log_file`, by default a new file
        in the user's cache. template_options: handed to the chat template (`{"enable_thinking": False}`).
        in_process: whether an engine on a CPU may live in this process, which the first one does by default; one in a
        process of its own starts later and can be killed. step_timeout_s: an engine that has work and finishes no step
        for so long is declared dead. tool_call_parser: vLLM's parser of the model's tool calls ("hermes" for Qwen's);
        without one tools can be required but not offered.
        engine_options: any other engine argument of vLLM. Raises UnknownName for one that vLLM does not have.
        """
        if not step_timeout_s > 0:
            raise InputError(f"step_timeout_s is {step_timeout_s}", fix="give a number of seconds above 0")
        self._files = ModelFiles(model)
        self._tokenizer = HfTokenizer(self._files, template_options)
        self._settings = VllmSettings(
            files=self._files,
            device=facts.device(),
            max_model_len=max_model_len,
            asked_block_size=block_size,
            max_num_seqs=max_num_seqs,
            max_num_batched_tokens=max_num_batched_tokens,
            kv_cache_gib=kv_cache_gib,
            gpu_memory_utilization=gpu_memory_utilization,
            seed=seed,
            verbose=verbose,
            engine_options=engine_options,
        )
        self.log: Path | None = None
        """Where the engine writes; None before its start, or with `verbose`."""
        self.on_progress: Callable[[str], None] | None = None
        """Told on the engine's thread how the start goes. Default: a line on stderr for whoever sits in front of it."""
        self._wanted_log = Path(log_file) if log_file is not None else None
        self._max_logprobs = int(engine_options.get("max_logprobs", MAX_LOGPROBS))
        self._tool_parser = tool_call_parser
        self._requests = itertools.count()
        self._facts: VllmEngine | None = None
        self._in_process = in_process
        self._thread = EngineThread(_Build(self), name=f"vllm-{model}", step_timeout_s=step_timeout_s)
        # A forgotten engine is freed: its thread keeps itself alive, but not this object.
        weakref.finalize(self, self._thread.close).atexit = False

    @property
    def model(self) -> str:
        return self._files.name

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            token_prompts=True,
            cached_counts=True,
            abort=True,
            priority=True,
            seeds=True,
            top_logprobs=self._max_logprobs if self._max_logprobs >= 0 else WHOLE_VOCABULARY,
            streamed_logprobs=True,
            prompt_logprobs=True,
            json_schema=True,
            tools=self._tool_parser is not None,
        )

    @property
    def tokenizer(self) -> Tokenizer:
        return self._tokenizer

    @property
    def window(self) -> int | None:
        return self._facts.window if self._facts is not None else self._settings.window

    @property
    def block_size(self) -> int:
        return self._facts.block_size if self._facts is not None else self._settings.block_size

    @property
    def kv_tokens(self) -> int | None:
        return (self._facts.cache_tokens or None) if self._facts is not None else None

    @property
    def max_running(self) -> int:
        return self._settings.max_running

    @property
    def default_max_tokens(self) -> int | None:
        return self._facts.default_max_tokens if self._facts is not None else None

    def fingerprint(self) -> Mapping[str, str]:
        """Before the start the sizes are those that will be asked for."""
        return {
            **self._made_of,
            "dtype": self._facts.dtype if self._facts is not None else self._settings.dtype,
            "window": str(self.window),
            "block_size": str(self.block_size),
            "max_running": str(self.max_running),
            "engine_seed": str(self._settings.seed),
            **({} if self._tokenizer.system_turns else {"lacks": NO_SYSTEM_TURN}),
        }

    @cached_property
    def _made_of(self) -> dict[str, str]:
        """Read once: every run tells it, and the metadata of two packages took 5 ms each time."""
        name, version = vllm_versions.installed() or ("vllm", "not installed")
        return {
            "engine": f"{name} {version}",
            "torch": facts.installed(["torch"]).get("torch", "not installed"),
            "device": hardware.device_name(self._settings.device),
            "model": self.model,
            "model_hash": self._files.digest,
        }

    async def start(self) -> None:
        self._thread.start()
        await asyncio.shield(asyncio.wrap_future(self._thread.ready))

    async def generate(self, request: Request, observe: Observer | None = None) -> tuple[Completion, ...]:
        tokens = request.prompt.tokens
        if tokens is None:
            tokens = self._tokenizer.render(request.prompt.messages, offered(request.prompt))
        _check_prompt(tokens, self.window, request.label)
        engine = await self._started()
        request, reading = self._with_tools(request)
        _check_prompt(tokens, engine.window, request.label)
        number, arrived = next(self._requests), time.time()  # the engine's own start is no queueing
        samples = [
            Sample(id=f"{number}-{place:05}", tokens=tokens, params=params, priority=request.priority, arrived=arrived)
            for place, params in enumerate(_all_params(engine, request, len(tokens)))
        ]
        ids = [sample.id for sample in samples]
        group = SampleGroup(ids, len(tokens), observe, stream=request.stream, reading=reading)
        return await self._run(samples, group)

    def _with_tools(self, request: Request) -> tuple[Request, Callable[[Completion], Completion] | None]:
        """The request as the engine is asked it, and what finds the tool calls in a text. Raises InputError."""
        prompt = request.prompt
        if not offered(prompt):
            return request, None
        if is_forced(prompt):
            sampling = replace(request.sampling, json_schema=forced_schema(prompt))
            return replace(request, sampling=sampling), forced_calls
        if self._tool_parser is None:
            raise InputError(
                f"{self.model!r} was offered tools, and nothing here knows how it writes their calls",
                why="every family of models has a format of its own",
                fix='open it with tool_call_parser="hermes" (or the parser vLLM has for the model), or require a call: '
                'tool_choice="required"',
            )
        parser, engine, tools = self._tool_parser, self._facts, prompt.tools
        assert engine is not None, "tools are looked at once the engine runs"

        def read(completion: Completion) -> Completion:
            return with_calls(completion, *vllm_versions.tool_calls(parser, engine.tokenizer, completion.text, tools))

        return request, read

    async def score(self, prompt: Tokens, continuation: Tokens) -> tuple[float, ...]:
        if not continuation:
            return ()
        check_scored_prompt(prompt)
        tokens = (*prompt, *continuation)
        _check_prompt(tokens, self.window, "a score")
        await self._started()
        params, number = vllm_versions.scoring_params(), next(self._requests)
        sample = Sample(id=f"{number}-score", tokens=tokens, params=params, priority=0, arrived=time.time())
        group = SampleGroup([sample.id], len(tokens), None, stream=False)
        await self._run([sample], group)
        return group.prompt_logprobs[-len(continuation) :]

    async def counters(self) -> Counters:
        if self._facts is None:
            return Counters(prompt_tokens=0, cached_tokens=0, output_tokens=0, running=0, waiting=0)
        return await asyncio.wrap_future(self._thread.call(lambda engine: cast("VllmEngine", engine).counters()))

    async def forget_prefixes(self) -> None:
        """See `protocol.Forgetting`. Nothing happens before the engine's start."""
        if self._facts is not None:
            await asyncio.wrap_future(self._thread.call(lambda engine: cast("VllmEngine", engine).forget_prefixes()))

    async def offline(self, requests: Sequence[Request]) -> list[Tokens]:
        """What vLLM's own offline loop generates for these token prompts, in their order: one sample of each.

        All of them enter at once, and the engine does nothing else until they have ended: the measure of what may be
        lost around it. Raises InputError for a request without tokens, and for what the engine refuses.
        """
        engine, prompts, params = await self._started(), [], []
        for request in requests:
            tokens = request.prompt.tokens
            if tokens is None:
                raise InputError("the offline loop takes token prompts only", fix="render the prompt first")
            _check_prompt(tokens, engine.window, request.label)
            prompts.append(tokens)
            params.append(_all_params(engine, request, len(tokens))[0])
        work = self._thread.call(lambda engine: cast("VllmEngine", engine).offline(prompts, params))
        return await asyncio.wrap_future(work)

    async def aclose(self) -> None:
        self._thread.close()
        ended = asyncio.wrap_future(self._thread.ended)
        if not (await asyncio.wait([ended], timeout=_CLOSE_WAIT_S))[0]:
            self._thread.give_up(closed())
            await asyncio.wait([ended], timeout=_KILL_WAIT_S)

    async def _started(self) -> VllmEngine:
        if self._facts is None or not self._thread.ready.done():
            await self.start()
            assert self._facts is not None, "a started engine has told its facts"
        # Once it runs nothing is awaited: of many calls made at once the first is computed while the next is rendered.
        return self._facts

    async def _run(self, samples: Sequence[Sample], group: SampleGroup) -> tuple[Completion, ...]:
        self._thread.submit(samples, group.take)
        try:
            return await group.result
        except asyncio.CancelledError:
            self._thread.abort(group.unfinished, group.leave)
            with anyio.CancelScope(shield=True):  # no longer than the step that is under way
                await group.left
            raise
        except BaseException:
            self._thread.abort(group.unfinished)
            raise

    def _say(self, message: str) -> None:
        if self.on_progress is not None:
            self.on_progress(message)
        elif self._settings.verbose or sys.stderr.isatty() or "ipykernel" in sys.modules:
            print(f"reasonflow: {message}", file=sys.stderr, flush=True)

    def _build(self) -> SteppedEngine:
        """Build the engine; on its own thread. Raises EngineStartError, or InputError for the model's name."""
        began = time.monotonic()
        self._say("importing vLLM")
        vllm_versions.check_installed()
        arguments = self._settings.arguments()
        with _STARTING:
            self._settings.check_room(list(_ACTIVE.values()))
            # vLLM keeps the batch it computes in a global, so that one process can step one engine only.
            in_process = self._in_process and self._settings.device == "cpu" and not _ACTIVE
            self.log = None if self._settings.verbose else self._wanted_log or vllm_process.new_log_file()
            try:
                with vllm_process.starting(self._settings.environment(in_process=in_process), self.log):
                    vllm_versions.import_vllm()
                    self._say(f"loading {self.model}")
                    engine = VllmEngine(arguments, in_process=in_process, log=self.log)
            except (Exception, SystemExit) as error:
                raise self._start_error(error) from error
            thread = self._thread
            _ACTIVE[thread] = self.model
            thread.freed.add_done_callback(lambda _: _forget(thread))
        self._facts = engine
        self._say(f"ready in {time.monotonic() - began:.0f} s")
        return engine

    def _start_error(self, error: BaseException) -> EngineStartError:
        where = f" (log: {self.log})" if self.log is not None else ""
        why, fix = vllm_process.root_cause(error, self.log), "run `reasonflow doctor`"
        if "KV cache" in why:  # it cannot hold one full window
            fix = "open it with a larger kv_cache_gib (gpu_memory_utilization on a GPU), or a smaller max_model_len"
        elif "emory" in why:
            fix += "; if memory is short, lower max_model_len or kv_cache_gib"
        return EngineStartError(f"vLLM cannot start with the model {self.model!r}", why=why + where, fix=fix)


def _forget(thread: EngineThread) -> None:
    """An engine is gone; with the last one its log is closed too."""
    _ACTIVE.pop(thread, None)
    if not _ACTIVE:
        vllm_process.close_log()


class _Build:
    """What the engine's thread calls to build its engine, without keeping the backend alive."""

    def __init__(self, backend: VllmBackend) -> None:
        self._backend = weakref.ref(backend)

    def __call__(self) -> SteppedEngine:
        backend = self._backend()
        if backend is None:
            raise EngineDead("this engine was dropped", why="nobody refers to it any more", fix="open it again")
        return backend._build()


def _all_params(engine: VllmEngine, request: Request, prompt_tokens: int) -> list[Any]:
    """The engine's parameters of each sample. Raises InputError where a value is out of its range."""
    if request.n < 1:
        raise InputError(f"a request for {request.n} samples", why="n must be at least 1", fix="ask for one or more")
    return [
        vllm_versions.sampling_params(
            request.sampling,
            defaults=engine.generation_defaults,
            window=engine.window,
            prompt_tokens=prompt_tokens,
            sample=sample,
            stream=request.stream,
            ceiling=engine.max_tokens_ceiling,
            keep_special=request.sampling.keep_special
            or (bool(offered(request.prompt)) and request.sampling.json_schema is None),
        )
        for sample in range(request.n)
    ]


def _check_prompt(tokens: Tokens, window: int | None, label: str) -> None:
    check_prompt(tokens, window, label, whose="the model's", fix="open the engine with a larger max_model_len")
