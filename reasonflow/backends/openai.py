"""A server that already runs: vLLM's own, SGLang, or any other that speaks OpenAI's API.

Prompts go as messages to /chat/completions; with `tokenizer=` as token ids to /completions, which vLLM and SGLang take.
One sample that nobody watches is one plain request. Several, or a stream, are one request with `n` that is streamed, so
that the end of each is told when it comes; cancelling closes the connection, and the server drops the samples.

A server tells less than an engine of our own: a plain request that is cancelled has told nothing, so such samples count
0 tokens here (`Capabilities.partial_counts`), and the counters are those of this client, not of the server.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio

from reasonflow.backends import openai_errors, openai_wire
from reasonflow.backends.facts import installed
from reasonflow.backends.hf_tokenizer import NO_SYSTEM_TURN, HfTokenizer
from reasonflow.backends.model_files import ModelFiles
from reasonflow.backends.openai_http import Server
from reasonflow.backends.openai_stream import StreamedSamples
from reasonflow.backends.prompt_checks import check_prompt, check_scored_prompt
from reasonflow.backends.protocol import Capabilities, Completion, Counters, Observer, Piece, Request, Tokenizer, Tokens
from reasonflow.backends.secret import Secret
from reasonflow.backends.shared_limit import SharedLimit
from reasonflow.backends.tools import forced_calls, forced_schema, is_forced, offered
from reasonflow.errors import BackendError, EngineDead, EngineStartError, InputError, first_failure

MAX_RUNNING = 64
"""Enough to keep a GPU busy, and few enough that a race's losers leave a queue nobody else waits in."""
TIMEOUT_S = 1800.0
"""A plain request says nothing before its text is whole: 32k tokens at 20 a second take 27 minutes."""
_MOST_TOP_LOGPROBS = 20
"""OpenAI's limit, and vLLM's where `max_logprobs` says nothing."""
_OURS = frozenset({"model", "messages", "prompt", "n", "stream", "stream_options"})
_COUNT_EACH = frozenset({"vllm", "sglang"})
"""Who say `owned_by` so in their list of models, and count each sample of a stream where they are asked to."""
_NOTHING = Completion(text="", output_tokens=0, prompt_tokens=0, finish_reason="cancelled")


class OpenAIBackend:
    """A `Backend` over an OpenAI-compatible server. After `aclose` it answers EngineDead; the server goes on."""

    def __init__(
        self,
        model: str,
        *,
        base_url: str,
        api_key: str | Secret | None = None,
        api_key_env: str | None = None,
        tokenizer: str | Path | None = None,
        window: int | None = None,
        max_running: int = MAX_RUNNING,
        timeout_s: float = TIMEOUT_S,
        extra_body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        limit: int | None = None,
    ) -> None:
        """Nothing is asked of the server yet.

        model: the name the server knows it by. base_url: up to and with the version ("http://localhost:8000/v1").
        api_key_env: the environment variable that holds the key, for engines that are to be saved. tokenizer: a
        folder, a hub repository or "embedded", for a server that takes token ids: vLLM, SGLang. window: tokens of
        prompt and output at most; None: what the server says (vLLM and SGLang do). max_running: samples in flight at
        most. timeout_s: a request in which nothing comes for so long has failed. extra_body: further fields of every
        request. headers: further headers; they are saved with a program. limit: samples in flight at most from all
        processes of this user on this machine that ask the same base_url and set a limit (see `SharedLimit`).
        """
        if not model:
            raise InputError("the model has no name", fix="give the name that GET /v1/models lists")
        for name, value in (("window", window), ("max_running", max_running), ("limit", limit)):
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}", fix=f"give {name} a positive number")
        if clash := _OURS & set(extra_body or {}):
            raise InputError(
                f"extra_body sets {', '.join(sorted(clash))}",
                why="these are set by each request",
                fix="leave them out of extra_body",
            )
        self._model = model
        self._server = Server(
            base_url,
            api_key=Secret(api_key) if isinstance(api_key, str) else api_key,
            api_key_env=api_key_env,
            headers=headers or {},
            timeout_s=timeout_s,
        )
        self._files = ModelFiles(str(tokenizer)) if tokenizer is not None else None
        self._tokenizer = HfTokenizer(self._files) if self._files is not None else None
        self._capabilities = self._what_it_can()
        self._window = window
        self._max_running = max_running
        self._extra = dict(extra_body or {})
        self._limit = limit
        self._shared = SharedLimit(self._server.base_url, limit) if limit is not None else None
        self._served_by = ""
        self._starting = asyncio.Lock()
        self._started = False
        self._closed: EngineDead | None = None
        self._running = self._prompt_tokens = self._cached_tokens = self._output_tokens = 0

    @property
    def model(self) -> str:
        return self._model

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    def _what_it_can(self) -> Capabilities:
        with_tokens = self._tokenizer is not None
        return Capabilities(
            token_prompts=with_tokens,
            abort=True,
            partial_counts=False,
            seeds=True,
            top_logprobs=_MOST_TOP_LOGPROBS,
            streamed_logprobs=True,
            prompt_logprobs=with_tokens,
            json_schema=True,
            tools=True,
            images=not with_tokens,
        )

    @property
    def tokenizer(self) -> Tokenizer | None:
        return self._tokenizer

    @property
    def window(self) -> int | None:
        """As given, or as the server said at the start; before it, what the tokenizer's model was made for."""
        if self._window is None and not self._started and self._files is not None:
            return self._files.window
        return self._window

    @property
    def block_size(self) -> int | None:
        return None

    @property
    def kv_tokens(self) -> None:
        return None

    @property
    def max_running(self) -> int:
        return min(self._max_running, self._limit or self._max_running)

    @property
    def default_max_tokens(self) -> int | None:
        return None

    def fingerprint(self) -> Mapping[str, str]:
        """What this side knows: the server's versions and device are its own affair. `lacks`: what is missing."""
        found = {"engine": f"openai ({self._served_by or 'unknown server'})", "base_url": self._server.base_url}
        if self._files is not None:
            found["tokenizer"] = self._files.name
        found["aiohttp"] = installed(["aiohttp"]).get("aiohttp", "not installed")
        lacks = ["token counts of cancelled plain requests", "priorities"]
        if self._files is None:
            lacks += ["token counts of prompts before they are sent", "probabilities of given texts"]
        if self._tokenizer is not None and not self._tokenizer.system_turns:
            lacks.append(NO_SYSTEM_TURN)
        return {**found, "model": self._model, "window": str(self.window), "lacks": ", ".join(lacks)}

    async def start(self) -> None:
        """See that the server is there, and learn what it tells of the model."""
        self._check_open()
        async with self._starting:
            if self._started:
                return
            try:
                content = await self._server.get("/models")
            except InputError:
                content = b""  # a server that lists no models may answer all the same
            except BackendError as error:
                self._check_open()
                if error.__cause__ is not None:
                    raise openai_errors.no_server(self._server.base_url, self._model, error.why) from error
                if error.transient:
                    raise  # one that is still loading its model answers 503 meanwhile
                raise EngineStartError(error.what, why=error.why, fix=error.fix) from error
            self._served_by, window = openai_wire.served(content, self._model)
            self._window = self._window or window
            self._started = True

    async def generate(self, request: Request, observe: Observer | None = None) -> tuple[Completion, ...]:
        if request.n < 1:
            raise InputError(
                f"a request for {request.n} samples", why="n must be at least 1", fix="ask for one or more"
            )
        if not self._started:
            await self.start()
        self._check_open()
        tokens = self._tokens_of(request)
        if tokens is not None and is_forced(request.prompt):
            return await self._forced(request, observe)
        self._running += request.n
        try:
            if self._limit is not None and request.n > self._limit:
                return await self._in_parts(request, tokens, observe, self._limit)
            return await self._whole(request, tokens, observe)
        except Exception as error:
            if self._closed is not None:
                raise self._closed.anew() from error
            raise
        finally:
            self._running -= request.n

    async def score(self, prompt: Tokens, continuation: Tokens) -> tuple[float, ...]:
        if self._tokenizer is None:
            raise BackendError(
                f"{self._model!r} cannot be asked for the probability of a text",
                why="the API takes no finished text in a chat; only vLLM's /completions does, as token ids",
                fix="open it with tokenizer=... (the model's folder or repository) if the server is vLLM",
            )
        if not continuation:
            return ()
        check_scored_prompt(prompt)
        tokens = (*prompt, *continuation)
        await self.start()
        self._check_prompt(tokens, "a score")
        body = {**self._extra, **openai_wire.score_body(self._model, tokens)}
        try:
            async with self._slots(1):
                content = await self._server.post("/completions", body)
        except Exception as error:
            if self._closed is not None:
                raise self._closed.anew() from error
            raise
        return openai_wire.prompt_logprobs(content, tokens, len(continuation))

    async def counters(self) -> Counters:
        """Of this client's requests. Those it waits for count as running, wherever the server has them."""
        return Counters(
            prompt_tokens=self._prompt_tokens,
            cached_tokens=self._cached_tokens,
            output_tokens=self._output_tokens,
            running=self._running,
            waiting=0,
        )

    async def aclose(self) -> None:
        if self._closed is None:
            self._closed = openai_errors.closed(self._server.base_url)
            if self._shared is not None:
                self._shared.close(self._closed)
        await self._server.aclose()

    async def _forced(self, request: Request, observe: Observer | None) -> tuple[Completion, ...]:
        """With a tool that must be called: a text that follows its schema, whatever parser the server has."""
        sampling = replace(request.sampling, json_schema=forced_schema(request.prompt))
        prompt = replace(request.prompt, tools=(), tool_choice=None, tokens=self._tokens_of(request))

        def told(seen: Piece | tuple[int, Completion]) -> None:
            assert observe is not None, "nobody is told otherwise"
            observe(seen if isinstance(seen, Piece) else (seen[0], forced_calls(seen[1])))

        asked = replace(request, prompt=prompt, sampling=sampling)
        return tuple(map(forced_calls, await self.generate(asked, None if observe is None else told)))

    async def _whole(self, request: Request, tokens: Tokens | None, observe: Observer | None) -> tuple[Completion, ...]:
        """The request as one."""
        if request.n == 1 and not (request.stream and observe is not None):
            return (await self._plain(request, tokens, observe),)
        return await self._streamed(request, tokens, observe)

    async def _plain(self, request: Request, tokens: Tokens | None, observe: Observer | None) -> Completion:
        path, body = self._asked(request, tokens)
        began_s = time.perf_counter()
        try:
            if self._shared is None:
                content = await self._server.post(path, body)
            else:
                async with self._shared.slots(1):
                    content = await self._server.post(path, body)
        except asyncio.CancelledError:
            if observe is not None:
                observe((0, _NOTHING))
            raise
        completion = openai_wire.completion(content, request, time.perf_counter() - began_s)
        self._count(completion)
        if observe is not None:
            observe((0, completion))
        return completion

    async def _streamed(
        self, request: Request, tokens: Tokens | None, observe: Observer | None
    ) -> tuple[Completion, ...]:
        counts_each = self._served_by in _COUNT_EACH
        path, body = self._asked(request, tokens)
        body["n"], body["stream"], body["stream_options"] = request.n, True, {"include_usage": True}
        if counts_each:
            body["stream_options"]["continuous_usage_stats"] = True
        samples = StreamedSamples(request, observe, counts_each=counts_each, base_url=self._server.base_url)
        try:
            async with self._slots(request.n):
                await self._server.stream(path, body, samples.take)
        except asyncio.CancelledError:
            self._count(*samples.cancelled())
            raise
        completions = samples.finish()
        self._count(*completions)
        return completions

    async def _in_parts(
        self, request: Request, tokens: Tokens | None, observe: Observer | None, most: int
    ) -> tuple[Completion, ...]:
        """As requests of so many samples at most, each when it gets its slots."""
        done: dict[int, tuple[Completion, ...]] = {}
        failed = False

        def observer(first: int) -> Observer | None:
            def seen(item: Piece | tuple[int, Completion]) -> None:
                assert observe is not None, "nobody is told otherwise"
                if isinstance(item, Piece):
                    observe(replace(item, index=first + item.index))
                elif not (failed and item[1].finish_reason == "cancelled"):  # a sibling failed: it has not ended
                    observe((first + item[0], item[1]))

            return seen if observe is not None else None

        async def part(first: int) -> None:
            nonlocal failed
            seed = request.sampling.seed
            sampling = request.sampling if seed is None else replace(request.sampling, seed=seed + first)
            asked = replace(request, n=min(most, request.n - first), sampling=sampling)
            try:
                done[first] = await self._whole(asked, tokens, observer(first))
            except Exception:
                failed = True
                raise

        try:
            async with anyio.create_task_group() as group:
                for first in range(0, request.n, most):
                    group.start_soon(part, first)
        except BaseExceptionGroup as failures:
            error = first_failure(failures)
            raise error from error.__cause__
        return tuple(completion for first in sorted(done) for completion in done[first])

    def _asked(self, request: Request, tokens: Tokens | None) -> tuple[str, dict[str, Any]]:
        """(path, body). A chat with tools goes as messages: the server's own parser reads the calls."""
        if tokens is None:
            path, body = "/chat/completions", openai_wire.chat_body(self._model, request)
        else:
            path, body = "/completions", openai_wire.tokens_body(self._model, request, tokens, self._window)
            if self._served_by == "vllm":
                body["return_token_ids"] = True
        body.update(self._extra)
        return path, body

    def _tokens_of(self, request: Request) -> Tokens | None:
        """The prompt as token ids where it is sent so. Raises PromptTooLong, and InputError for an empty prompt."""
        prompt = request.prompt
        if self._tokenizer is None or (offered(prompt) and prompt.messages and not is_forced(prompt)):
            if not prompt.messages:
                raise InputError(
                    "the prompt has no messages",
                    why="without a tokenizer this engine sends messages and no token ids",
                    fix="give it messages, or open it with tokenizer=...",
                )
            return None
        tokens = prompt.tokens
        if tokens is None:
            tokens = self._tokenizer.render(prompt.messages, offered(prompt))
        self._check_prompt(tokens, request.label)
        return tokens

    def _check_prompt(self, tokens: Tokens, label: str) -> None:
        fix = "start the server with a larger --max-model-len"
        check_prompt(tokens, self.window, label, whose="the server's", fix=fix)

    def _slots(self, count: int) -> AbstractAsyncContextManager[None]:
        return nullcontext() if self._shared is None else self._shared.slots(count)

    def _count(self, *completions: Completion) -> None:
        for completion in completions:
            self._prompt_tokens += completion.prompt_tokens
            self._cached_tokens += completion.cached_tokens or 0
            self._output_tokens += completion.output_tokens

    def _check_open(self) -> None:
        if self._closed is not None:
            raise self._closed.anew()
