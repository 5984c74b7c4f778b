"""A deterministic engine that answers from a script, for laws, faults, simulations and the overhead benchmark."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

import anyio

from reasonflow.backends.block_cache import BlockCache
from reasonflow.backends.chunk_tokenizer import ChunkTokenizer
from reasonflow.backends.clock import Clock, WallClock
from reasonflow.backends.deaths import closed
from reasonflow.backends.protocol import (
    Capabilities,
    Completion,
    Counters,
    Observer,
    Piece,
    Request,
    Tokenizer,
    TokenLogprobs,
    Tokens,
)
from reasonflow.backends.script import Chances, Script, answers, failure, parts_of
from reasonflow.backends.scripted_call import NOTHING, Call, Decoding, Times
from reasonflow.backends.scripted_samples import Sample, Samples
from reasonflow.errors import BackendError, EngineDead, InputError, PromptTooLong, first_failure

Latency: TypeAlias = float | Callable[[Request, int], float]
"""Seconds one sample takes, or a function of the request and the sample's index."""

TOP_LOGPROBS = 20
"""As many as vLLM reports where nothing else is said."""


class ScriptedBackend:
    """An engine whose answers are given: equal requests in equal order get equal completions.

    answer: a text for every sample; a sequence, whose items answer the samples in order of arrival, over and over; or a
        function `(prompt, seed, index)` of the chat's text, the sample's own seed and its place in the request. An
        exception (or its class) in place of a text is raised as a BackendError. A dict in place of a text is one token
        and its alternatives, {"Yes": 0.8, "No": 0.15}: the likeliest is generated, and log-probabilities are theirs; a
        tuple is a text in parts, some of them dicts.
    latency: seconds per sample, spent on `clock` (real time by default; a `VirtualClock` jumps). None: no time at all.
    kv_blocks: blocks the prefix cache holds; None: room for `max_running` full windows.
    top_logprobs: likeliest tokens it reports at each place at most; 0: it reports no log-probabilities.

    An EngineDead in place of a text kills the engine: everybody in flight gets it, and everybody after. A cancelled
    sample has generated its text's tokens in proportion to its time. A request takes as many steps as its longest
    sample has tokens, and requests beside each other share none.

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
        top_logprobs: int = TOP_LOGPROBS,
    ) -> None:
        for name, value in (("window", window), ("block_size", block_size), ("max_running", max_running)):
            if value < 1:
                raise InputError(f"{name} is {value}", fix=f"give {name} a positive number")
        if top_logprobs < 0:
            raise InputError(f"top_logprobs is {top_logprobs}", fix="give 0 for none, or how many there are")
        self._script = answers(answer)
        self._constant = answer if isinstance(answer, str) else None
        self._model = model
        self._latency = latency
        self._clock = clock or WallClock()
        self._window = window
        self._block_size = block_size
        self._max_running = max_running
        self._tokenizer = ChunkTokenizer()
        self._capabilities = Capabilities(
            token_prompts=True,
            cached_counts=True,
            abort=True,
            seeds=True,
            top_logprobs=top_logprobs,
            streamed_logprobs=top_logprobs > 0,
            prompt_logprobs=True,
        )
        self._kv_blocks = kv_blocks or max(1, max_running * window // block_size)
        self._cache = BlockCache(block_size, self._kv_blocks)
        self._samples = Samples(self._tokenizer)
        self._slots: anyio.Semaphore | None = None
        self._running = self._waiting = 0
        self._prompt_tokens = self._cached_tokens = self._output_tokens = self._steps = 0
        self._calls: set[Call] = set()
        self._dead: EngineDead | None = None

    @property
    def model(self) -> str:
        return self._model

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

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
    def kv_tokens(self) -> int:
        return self._kv_blocks * self._block_size

    @property
    def max_running(self) -> int:
        return self._max_running

    @property
    def default_max_tokens(self) -> int | None:
        return None

    def fingerprint(self) -> Mapping[str, str]:
        return {"engine": "scripted", "model": self._model, "block_size": str(self._block_size)}

    def running(self) -> int:
        """Samples being answered now."""
        return self._running

    async def start(self) -> None:
        if self._dead is not None:
            raise self._dead.anew()

    async def generate(self, request: Request, observe: Observer | None = None) -> tuple[Completion, ...]:
        await self.start()
        prompt = request.prompt.tokens
        if prompt is None:
            prompt = self._tokenizer.render(request.prompt.messages)
        room = self._room(prompt)
        if self._latency is None and self._constant is not None and not (observe is not None and request.stream):
            return await self._at_once(request, prompt, self._constant, room, observe)
        chat = "" if self._constant is not None else self._chat_text(request, prompt)  # which a text does not read
        call = Call(request, prompt, chat, room, self._clock.now(), observe)
        await self._all(call)
        if self._dead is not None and len(call.done) < request.n:
            raise self._dead.anew()
        return tuple(map(call.done.__getitem__, range(request.n)))

    async def _all(self, call: Call) -> None:
        """Answer every sample. What ends it early decides who is told."""
        self._calls.add(call)
        try:
            with call.scope:
                if self._fits_together(call):
                    await self._together(call)
                else:
                    async with anyio.create_task_group() as group:
                        for index in range(call.request.n):
                            group.start_soon(self._one, call, index)
        except BaseExceptionGroup as failures:
            error = first_failure(failures)
            raise error from error.__cause__
        except anyio.get_cancelled_exc_class():
            if call.observe is not None and not call.failed:
                for index in range(call.request.n):
                    if index not in call.done:
                        call.observe((index, call.cut.get(index, NOTHING)))
            raise
        finally:
            self._calls.discard(call)
            self._steps += call.steps

    async def _one(self, call: Call, index: int) -> None:
        try:
            call.done[index] = completion = await self._answer(call, index)
            if call.observe is not None:
                call.observe((index, completion))
        except Exception as error:
            self._failed(call, error)
            raise

    def _failed(self, call: Call, error: Exception) -> None:
        call.failed = True
        if isinstance(error, EngineDead):
            self._die(error)

    def _fits_together(self, call: Call) -> bool:
        """Whether all samples start now and take equally long, and nobody watches them being written."""
        if call.pieces is not None:
            return False
        count = call.request.n
        return count == 1 or (not callable(self._latency) and self._free.value >= count)

    async def _together(self, call: Call) -> None:
        """One wait for all samples. A task, a timer and a cancel scope for each took 0.04 ms a sample of 1,024."""
        count = call.request.n
        try:
            scripted = self._scripted_all(call)
            if not self._admit_now(count):
                await self._admit()
            try:
                started_s, seconds = self._clock.now(), self._seconds(call.request, 0)
                begun = self._begin_all(call, scripted)
                try:
                    await self._spend(seconds)
                except anyio.get_cancelled_exc_class():
                    self._stop_all(call, begun, started_s, seconds)
                    raise
                self._end_all(call, begun, started_s, seconds)
            finally:
                self._leave(count)
        except Exception as error:
            self._failed(call, error)
            raise

    def _scripted_all(self, call: Call) -> list[object]:
        return [self._scripted(call, index) for index in range(call.request.n)]

    def _begin_all(self, call: Call, scripted: list[object]) -> list[Decoding]:
        begun: list[Decoding] = []
        for index, text in enumerate(scripted):
            begun.append(self._begin(call, index, text, begun[-1] if index > 1 else None))
        return begun

    def _stop_all(self, call: Call, begun: list[Decoding], started_s: float, seconds: float) -> None:
        """They were cancelled while they were written."""
        share = min(1.0, (self._clock.now() - started_s) / seconds) if seconds > 0 else 0.0
        for each in begun:
            if each.sample is not None:
                shown = int(len(each.visible) * share)
                call.cut[each.index] = self._stopped(call, each.sample, each.cached, started_s, seconds, shown)

    def _end_all(self, call: Call, begun: list[Decoding], started_s: float, seconds: float) -> None:
        """Their time is over. Raises the first failure: those that end in the same moment still do."""
        failed: BaseException | None = None
        now, last, completion = self._clock.now(), begun[0], NOTHING
        for each in begun:
            if each.sample is None:
                failed = failed or failure(each.scripted)
                continue
            if completion is not NOTHING and last.equals(each):
                self._count(completion)
            else:
                times = call.times(started_s, now, seconds / max(1, len(each.sample.tokens)))
                completion = self._finished(call.prompt, each.sample, each.cached, each.logprobs, times)
            last = each
            call.done[each.index] = completion
            if call.observe is not None:
                call.observe((each.index, completion))
        if failed is not None:
            raise failed

    def _begin(self, call: Call, index: int, scripted: object, sibling: Decoding | None = None) -> Decoding:
        """A sample that has a slot now. sibling: one that began just before, and was not the first of its request."""
        if sibling is not None and sibling.scripted is scripted:
            return sibling.beside(index)  # nothing has happened in between that could change what is cached
        parts = parts_of(scripted)
        if parts is None:
            return Decoding(index, scripted)
        sample = self._cut(parts, call.request, call.room)
        logprobs = self._logprobs(sample, call.request)
        cached = self._cache.hit_tokens(call.prompt)
        self._cache.add(call.prompt)
        return Decoding(index, scripted, sample, cached, logprobs)

    async def score(self, prompt: Tokens, continuation: Tokens) -> tuple[float, ...]:
        """Made-up but repeatable: between -1 and 0, a function of the token alone."""
        await asyncio.sleep(0)
        return tuple(-(token % 101) / 100 for token in continuation)

    async def counters(self) -> Counters:
        return Counters(
            prompt_tokens=self._prompt_tokens,
            cached_tokens=self._cached_tokens,
            output_tokens=self._output_tokens,
            running=self._running,
            waiting=self._waiting,
            steps=self._steps,
        )

    async def forget_prefixes(self) -> None:
        if self._running or self._waiting:
            raise BackendError("the prefix cache is in use", why="samples are in the engine", fix="wait for their end")
        self._cache = BlockCache(self._block_size, self._kv_blocks)

    async def aclose(self) -> None:
        self._die(closed())

    def _die(self, error: EngineDead) -> None:
        """From now on everybody is told so, first of all those who wait."""
        self._dead = self._dead or error
        for call in self._calls:
            call.failed = True
            call.scope.cancel()

    def _room(self, prompt: Tokens) -> int:
        """Tokens that may be generated. Raises PromptTooLong, and BackendError where the cache is too small."""
        room = self._window - len(prompt)
        if room < 1:
            raise PromptTooLong(
                f"the prompt has {len(prompt)} tokens",
                why=f"the engine's window is {self._window}, and at least one token must be generated",
                fix="shorten the inputs, or give the engine a larger window",
            )
        blocks = -(-len(prompt) // self._block_size)
        if blocks > self._kv_blocks:
            raise BackendError(
                f"the prompt has {len(prompt)} tokens, and the engine's KV cache cannot hold them",
                why=f"they need {blocks} blocks of {self._block_size}, and the cache has {self._kv_blocks}",
                fix="give the engine more kv_blocks, or shorten the inputs",
            )
        return room

    async def _at_once(
        self, request: Request, prompt: Tokens, text: str, room: int, observe: Observer | None
    ) -> tuple[Completion, ...]:
        """All samples of a constant answer without a task each: what is left is the cost of whoever calls."""
        self._running += request.n
        try:
            await asyncio.sleep(0)
        except anyio.get_cancelled_exc_class():
            if observe is not None:
                for index in range(request.n):
                    observe((index, NOTHING))
            raise
        finally:
            self._running -= request.n
        await self.start()  # it may have been closed meanwhile
        sample = self._cut((text,), request, room)
        logprobs = self._logprobs(sample, request)
        first = self._finished(prompt, sample, logprobs=logprobs)
        self._steps += len(sample.tokens)
        completions: tuple[Completion, ...] = (first,)
        if request.n > 1:
            # Siblings differ from the first only in what was cached, so they share one object.
            sibling = self._finished(prompt, sample, logprobs=logprobs)
            others = request.n - 2
            self._prompt_tokens += sibling.prompt_tokens * others
            self._cached_tokens += (sibling.cached_tokens or 0) * others
            self._output_tokens += sibling.output_tokens * others
            completions = (first, *[sibling] * (request.n - 1))
        if observe is not None:
            for end in enumerate(completions):
                observe(end)
        return completions

    def _scripted(self, call: Call, index: int) -> object:
        """Asked before any waiting, so that arrival order decides."""
        seed = call.request.sampling.seed
        return self._script(call.chat, None if seed is None else seed + index, index)

    @property
    def _free(self) -> anyio.Semaphore:
        """Slots for samples; made on the loop that it serves."""
        if self._slots is None:
            self._slots = anyio.Semaphore(self._max_running, fast_acquire=True)
        return self._slots

    def _admit_now(self, count: int) -> bool:
        """Take slots if so many are free."""
        free = self._free
        if free.value < count:
            return False
        for _ in range(count):
            free.acquire_nowait()
        self._running += count
        return True

    async def _admit(self) -> None:
        """Take a slot as soon as there is one."""
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
        self._running += 1

    def _leave(self, count: int = 1) -> None:
        self._running -= count
        for _ in range(count):
            self._free.release()

    async def _answer(self, call: Call, index: int) -> Completion:
        scripted = self._scripted(call, index)
        await self._admit()
        try:
            return await self._decode(call, index, scripted)
        finally:
            self._leave()

    async def _decode(self, call: Call, index: int, scripted: object) -> Completion:
        """A scheduled sample, to its end. If it is stopped, `call.cut` knows how far it had come."""
        started_s, seconds = self._clock.now(), self._seconds(call.request, index)
        begun = self._begin(call, index, scripted)
        sample = begun.sample
        if sample is None:
            await self._spend(seconds)
            raise failure(scripted)
        visible, shown, pieces = begun.visible, 0, call.pieces
        try:
            for token in visible if pieces is not None else ():
                await self._spend(seconds / len(visible))
                shown += 1
                assert pieces is not None
                text, its = self._tokenizer.decode((token,)), begun.logprobs[shown - 1 : shown]
                pieces(Piece(index=index, text=text, tokens=(token,), logprobs=its))
            if not shown:
                await self._spend(seconds)
        except anyio.get_cancelled_exc_class():
            if pieces is None and seconds > 0:
                shown = int(len(visible) * min(1.0, (self._clock.now() - started_s) / seconds))
            call.cut[index] = self._stopped(call, sample, begun.cached, started_s, seconds, shown)
            raise
        times = call.times(started_s, self._clock.now(), seconds / max(1, len(sample.tokens)))
        return self._finished(call.prompt, sample, begun.cached, begun.logprobs, times)

    def _stopped(
        self, call: Call, sample: Sample, cached: int, started_s: float, seconds: float, shown: int
    ) -> Completion:
        """A sample that was cancelled after so many tokens."""
        tokens = sample.tokens[: min(shown, len(sample.tokens) - 1)]  # with all of them it would have ended
        times = call.times(started_s, self._clock.now(), seconds / len(sample.tokens) if shown else None)
        stopped = Sample(self._tokenizer.decode(tokens), tokens, "cancelled")
        return self._finished(call.prompt, stopped, cached, times=times)

    def _spend(self, seconds: float) -> Awaitable[None]:
        return self._clock.sleep(seconds) if seconds > 0 else asyncio.sleep(0)

    def _seconds(self, request: Request, index: int) -> float:
        if self._latency is None:
            return 0.0
        return self._latency(request, index) if callable(self._latency) else self._latency

    def _finished(
        self,
        prompt: Tokens,
        sample: Sample,
        cached: int | None = None,
        logprobs: tuple[TokenLogprobs, ...] = (),
        times: Times = (0.0, None, 0.0),
    ) -> Completion:
        if cached is None:
            cached = self._cache.hit_tokens(prompt)
        self._cache.add(prompt + sample.tokens[:-1])  # the last token's keys and values are never computed
        queued_s, first_token_s, total_s = times
        ended = Completion(
            text=sample.text,
            tokens=sample.tokens,
            output_tokens=len(sample.tokens),
            prompt_tokens=len(prompt),
            cached_tokens=cached,
            finish_reason=sample.finish_reason,
            stopped=sample.stopped,
            queued_s=queued_s,
            first_token_s=first_token_s,
            total_s=total_s,
            logprobs=logprobs,
        )
        self._count(ended)
        return ended

    def _count(self, ended: Completion) -> None:
        self._prompt_tokens += ended.prompt_tokens
        self._cached_tokens += ended.cached_tokens or 0
        self._output_tokens += ended.output_tokens

    def _cut(self, parts: tuple[str | Chances, ...], request: Request, room: int) -> Sample:
        cap = request.sampling.max_tokens
        return self._samples.cut(parts, request.sampling.stop, room if cap is None else min(cap, room))

    def _logprobs(self, sample: Sample, request: Request) -> tuple[TokenLogprobs, ...]:
        """What the request wants to know of each token, as far as the engine tells it."""
        asked, most = request.sampling.logprobs, self._capabilities.top_logprobs
        return () if asked is None or not most else self._samples.logprobs(sample, min(asked, most))

    def _chat_text(self, request: Request, prompt: Tokens) -> str:
        if not request.prompt.messages:
            return self._tokenizer.decode(prompt)
        return "\n\n".join(str(message["content"]) for message in request.prompt.messages)
