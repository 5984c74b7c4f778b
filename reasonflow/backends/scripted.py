"""A deterministic engine that answers from a script, for laws, faults, simulations and the overhead benchmark."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import anyio
from anyio.lowlevel import checkpoint

from reasonflow.backends.block_cache import BlockCache
from reasonflow.backends.chunk_tokenizer import END_ID, ChunkTokenizer
from reasonflow.backends.clock import Clock, WallClock
from reasonflow.backends.protocol import (
    Capabilities,
    Completion,
    Counters,
    FinishReason,
    Observer,
    Piece,
    Request,
    Tokenizer,
    Tokens,
)
from reasonflow.errors import BackendError, EngineDead, InputError, PromptTooLong

Fault: TypeAlias = BaseException | type[BaseException]
Scripted: TypeAlias = str | Fault
"""One sample's text, or what fails instead."""
Script: TypeAlias = Scripted | Sequence[Scripted] | Callable[[str, int | None, int], Scripted]
Latency: TypeAlias = float | Callable[[Request, int], float]
"""Seconds one sample takes, or a function of the request and the sample's index."""

_CAPABILITIES = Capabilities(token_prompts=True, cached_counts=True, abort=True, seeds=True, prompt_logprobs=True)


@dataclass(frozen=True, slots=True)
class _Sample:
    text: str
    tokens: Tokens
    finish_reason: FinishReason


class ScriptedBackend:
    """An engine whose answers are given: equal requests in equal order get equal completions.

    answer: a text for every sample; a sequence, whose items answer the samples in order of arrival, over and over; or a
        function `(prompt, seed, index)` of the chat's text, the sample's own seed and its place in the request. An
        exception (or its class) in place of a text is raised as a BackendError.
    latency: seconds per sample, spent on `clock` (real time by default; a `VirtualClock` jumps). None: no time at all.
    kv_blocks: blocks the prefix cache holds; None: room for `max_running` full windows.

    One instance serves one event loop at a time.
    """

    def __init__(
        self,
        answer: Script,
        *,
        model: str = "scripted",
        latency: Latency | None = None,
        clock: Clock | None = None,
        window: int = 8192,
        block_size: int = 16,
        max_running: int = 256,
        kv_blocks: int | None = None,
    ) -> None:
        for name, value in (("window", window), ("block_size", block_size), ("max_running", max_running)):
            if value < 1:
                raise InputError(f"{name} is {value}", fix=f"give {name} a positive number")
        self._script = _script(answer)
        self._constant = answer if isinstance(answer, str) else None
        self._model = model
        self._latency = latency
        self._clock = clock or WallClock()
        self._window = window
        self._block_size = block_size
        self._max_running = max_running
        self._tokenizer = ChunkTokenizer()
        self._cache = BlockCache(block_size, kv_blocks or max(1, max_running * window // block_size))
        self._samples: dict[str, _Sample] = {}
        self._slots: anyio.Semaphore | None = None
        self._running = self._waiting = 0
        self._prompt_tokens = self._cached_tokens = self._output_tokens = 0
        self._closed = False

    @property
    def model(self) -> str:
        return self._model

    @property
    def capabilities(self) -> Capabilities:
        return _CAPABILITIES

    @property
    def tokenizer(self) -> Tokenizer:
        return self._tokenizer

    @property
    def window(self) -> int:
        return self._window

    @property
    def block_size(self) -> int:
        return self._block_size

    @property
    def max_running(self) -> int:
        return self._max_running

    def fingerprint(self) -> Mapping[str, str]:
        return {"engine": "scripted", "model": self._model, "block_size": str(self._block_size)}

    def running(self) -> int:
        """Samples being answered now."""
        return self._running

    async def start(self) -> None:
        if self._closed:
            raise EngineDead("the scripted engine is closed", fix="build a new one")

    async def generate(self, request: Request, observe: Observer | None = None) -> tuple[Completion, ...]:
        await self.start()
        prompt = request.prompt.tokens
        if prompt is None:
            prompt = self._tokenizer.render(request.prompt.messages)
        room = self._window - len(prompt)
        if room < 1:
            raise PromptTooLong(
                f"the prompt has {len(prompt)} tokens",
                why=f"the engine's window is {self._window}, and at least one token must be generated",
                fix="shorten the inputs, or give the engine a larger window",
            )
        if self._latency is None and observe is None and self._constant is not None:
            return await self._at_once(request, prompt, self._constant, room)
        text = self._chat_text(request, prompt)
        done: list[Completion | None] = [None] * request.n

        async def one(index: int, arrived_s: float) -> None:
            done[index] = await self._answer(request, prompt, text, index, room, arrived_s, observe)

        try:
            async with anyio.create_task_group() as group:
                arrived_s = self._clock.now()
                for index in range(request.n):
                    group.start_soon(one, index, arrived_s)
        except BaseExceptionGroup as failures:
            error = _first(failures)
            raise error from error.__cause__
        return tuple(completion for completion in done if completion is not None)

    async def score(self, prompt: Tokens, continuation: Tokens) -> tuple[float, ...]:
        """Made-up but repeatable: between -1 and 0, a function of the token alone."""
        await checkpoint()
        return tuple(-(token % 101) / 100 for token in continuation)

    async def counters(self) -> Counters:
        return Counters(
            prompt_tokens=self._prompt_tokens,
            cached_tokens=self._cached_tokens,
            output_tokens=self._output_tokens,
            running=self._running,
            waiting=self._waiting,
        )

    async def aclose(self) -> None:
        self._closed = True

    async def _at_once(self, request: Request, prompt: Tokens, text: str, room: int) -> tuple[Completion, ...]:
        """All samples of a constant answer without a task each: what is left is the cost of whoever calls."""
        self._running += request.n
        try:
            await checkpoint()
        finally:
            self._running -= request.n
        sample = self._cut(text, request, room)
        first = self._finished(prompt, sample)
        if request.n == 1:
            return (first,)
        # Siblings differ from the first only in what was cached, so they share one object.
        sibling = self._finished(prompt, sample)
        others = request.n - 2
        self._prompt_tokens += sibling.prompt_tokens * others
        self._cached_tokens += (sibling.cached_tokens or 0) * others
        self._output_tokens += sibling.output_tokens * others
        return (first, *[sibling] * (request.n - 1))

    async def _answer(
        self,
        request: Request,
        prompt: Tokens,
        chat: str,
        index: int,
        room: int,
        arrived_s: float,
        observe: Observer | None,
    ) -> Completion:
        seed = None if request.sampling.seed is None else request.sampling.seed + index
        scripted = self._script(chat, seed, index)  # before any waiting, so that arrival order decides
        if self._slots is None:
            self._slots = anyio.Semaphore(self._max_running)
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
        self._running += 1
        try:
            started_s = self._clock.now()
            if not isinstance(scripted, str):
                await self._spend(request, index, 1)
                raise _fault(scripted)
            sample = self._cut(scripted, request, room)
            cached = self._cache.hit_tokens(prompt)
            self._cache.add(prompt)
            await self._decode(request, index, sample, observe)
            completion = replace(
                self._finished(prompt, sample, cached),
                queued_s=started_s - arrived_s,
                first_token_s=started_s - arrived_s + self._seconds(request, index) / max(1, len(sample.tokens)),
                total_s=self._clock.now() - arrived_s,
            )
        finally:
            self._running -= 1
            self._slots.release()
        if observe is not None:
            observe((index, completion))
        return completion

    async def _decode(self, request: Request, index: int, sample: _Sample, observe: Observer | None) -> None:
        if observe is None:
            await self._spend(request, index, 1)
            return
        # The end-of-turn id has no text of its own to show.
        visible = sample.tokens[:-1] if sample.finish_reason == "stop" else sample.tokens
        for token in visible:
            await self._spend(request, index, max(1, len(visible)))
            observe(Piece(index=index, text=self._tokenizer.decode((token,)), tokens=(token,)))

    async def _spend(self, request: Request, index: int, steps: int) -> None:
        seconds = self._seconds(request, index)
        if seconds > 0:
            await self._clock.sleep(seconds / steps)
        else:
            await checkpoint()

    def _seconds(self, request: Request, index: int) -> float:
        if self._latency is None:
            return 0.0
        return self._latency(request, index) if callable(self._latency) else self._latency

    def _finished(self, prompt: Tokens, sample: _Sample, cached: int | None = None) -> Completion:
        if cached is None:
            cached = self._cache.hit_tokens(prompt)
        self._cache.add(prompt + sample.tokens)
        self._prompt_tokens += len(prompt)
        self._cached_tokens += cached
        self._output_tokens += len(sample.tokens)
        return Completion(
            text=sample.text,
            tokens=sample.tokens,
            output_tokens=len(sample.tokens),
            prompt_tokens=len(prompt),
            cached_tokens=cached,
            finish_reason=sample.finish_reason,
        )

    def _cut(self, text: str, request: Request, room: int) -> _Sample:
        """The scripted text as the engine would end it: at a stop string, at the token cap, or at the end of turn."""
        for stop in request.sampling.stop:
            text = text.split(stop, 1)[0]
        sample = self._samples.get(text)
        if sample is None:
            sample = _Sample(text, (*self._tokenizer.encode(text), END_ID), "stop")
            if len(self._samples) < 4096:  # scripts that write a new text per call must not fill the memory
                self._samples[text] = sample
        cap = request.sampling.max_tokens
        limit = room if cap is None else min(cap, room)
        if len(sample.tokens) <= limit:
            return sample
        tokens = sample.tokens[:limit]
        return _Sample(self._tokenizer.decode(tokens), tokens, "length")

    def _chat_text(self, request: Request, prompt: Tokens) -> str:
        if not request.prompt.messages:
            return self._tokenizer.decode(prompt)
        return "\n\n".join(str(message["content"]) for message in request.prompt.messages)


def _script(answer: Script) -> Callable[[str, int | None, int], Scripted]:
    if isinstance(answer, str) or _is_fault(answer):
        fixed: Any = answer
        return lambda prompt, seed, index: fixed
    if callable(answer):
        return answer
    if not isinstance(answer, Sequence) or not answer:
        raise InputError(
            f"a scripted engine cannot answer with {answer!r}",
            fix="give a text, a non-empty list of texts, or a function (prompt, seed, index) -> text",
        )
    items, arrivals = tuple(answer), iter(range(2**63))
    return lambda prompt, seed, index: items[next(arrivals) % len(items)]


def _is_fault(value: object) -> bool:
    return isinstance(value, BaseException) or (inspect.isclass(value) and issubclass(value, BaseException))


def _fault(fault: object) -> BaseException:
    if not _is_fault(fault):
        return InputError(
            f"the script answered with {type(fault).__name__}",
            why="a scripted sample is a text or an exception",
            fix="return a str from the answer function",
        )
    raised: Any = fault
    error = raised("scripted failure") if inspect.isclass(fault) else raised
    if isinstance(error, BackendError):
        return error
    wrapped = BackendError("the scripted engine failed", why=f"{type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The failure that ended the request; its siblings were cancelled for it."""
    error: BaseException = failures
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
