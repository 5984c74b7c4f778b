"""A double of the wire: a local HTTP server that speaks OpenAI's protocol and answers from a script.

It is deterministic (equal requests get equal answers), counts what runs inside it, and notices clients that leave. Its
manners are vLLM's (`owned_by="vllm"`): each sample of a stream is counted and its ids are told, where that is asked.
Any other name gives a server that only knows the standard's own fields.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

from reasonflow.backends.chunk_tokenizer import ChunkTokenizer
from reasonflow.backends.protocol import Tokenizer, Tokens

Answer = Callable[[str, int | None, int], str]
"""Of the prompt's text, the sample's own seed, and its place in the request."""
END = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What the next request gets instead of an answer."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    breaks: bool = False
    """The connection is cut after the body."""


@dataclass(frozen=True, slots=True)
class _Sample:
    tokens: Tokens
    texts: tuple[str, ...]
    """One per token."""
    finish: str

    @property
    def text(self) -> str:
        return "".join(self.texts)


@dataclass(kw_only=True)
class OpenAIServer:
    """Runs on a thread of its own while it is entered."""

    answer: Answer = lambda prompt, seed, index: f"Paris is the capital of France, says voice {seed}. " * 20
    model: str = "m"
    owned_by: str = "vllm"
    window: int = 4096
    latency_s: float = 0.0
    """Of each sample of the requests still to come, spread over its tokens."""
    tokenizer: Tokenizer = field(default_factory=ChunkTokenizer)
    api_key: str | None = None
    reasoning: str = ""
    """A thought before every answer, told in a field of its own."""
    details: bool = True
    """Whether it tells how much of a prompt it had cached."""

    faults: list[Fault] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    """Bodies in order of arrival, each with its path."""
    running: int = 0
    most_running: int = 0
    left: int = 0
    """Requests whose client went away before their end."""
    connections: set[Any] = field(default_factory=set)

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="openai-double")
        self._thread.start()
        self._seen: set[str] = set()
        self._runner, port = asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result(10)
        self.base_url = f"http://127.0.0.1:{port}/v1"
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        self._loop.close()

    async def _serve(self) -> tuple[web.AppRunner, int]:
        app = web.Application(client_max_size=2**26)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/chat/completions", self._completions)
        app.router.add_post("/v1/completions", self._completions)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return runner, runner.addresses[0][1]

    async def _models(self, request: web.Request) -> web.StreamResponse:
        if refusal := self._refusal(request):
            return refusal
        card = {"id": self.model, "object": "model", "owned_by": self.owned_by}
        return web.json_response({"data": [{**card, "max_model_len": self.window} if self._is_vllm else card]})

    @property
    def _is_vllm(self) -> bool:
        return self.owned_by == "vllm"

    def _refusal(self, request: web.Request) -> web.Response | None:
        given = request.headers.get("Authorization")
        if self.api_key is None or given == f"Bearer {self.api_key}":
            return None
        return web.json_response({"error": {"message": f"Incorrect API key: {given}"}}, status=401)

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        if refusal := self._refusal(request):
            return refusal
        self.connections.add(request.transport)
        body = await request.json()
        self.requests.append({**body, "path": request.path})
        if self.faults:
            return await self._fault(request, self.faults.pop(0))
        prompt = self._prompt(body)
        if len(prompt) >= self.window:
            said = f"This model's maximum context length is {self.window} tokens; your prompt has {len(prompt)}."
            return web.json_response({"error": {"message": said, "code": 400}}, status=400)
        count, latency_s = body.get("n") or 1, self.latency_s  # who sees it running may change it for those to come
        self.running += count
        self.most_running = max(self.most_running, self.running)
        try:
            samples = [self._sample(body, prompt, index) for index in range(count)]
            usage = self._usage(prompt)
            if body.get("stream"):
                return await self._stream(request, body, prompt, samples, usage, latency_s)
            await asyncio.sleep(latency_s)
            return web.json_response(self._plain(body, prompt, samples, usage))
        except asyncio.CancelledError:
            self.left += 1
            raise
        finally:
            self.running -= count

    async def _fault(self, request: web.Request, fault: Fault) -> web.StreamResponse:
        if not fault.breaks:
            return web.Response(status=fault.status, body=fault.body, content_type=fault.content_type)
        response = web.StreamResponse(status=fault.status, headers={"Content-Type": fault.content_type})
        await response.prepare(request)
        await response.write(fault.body)
        assert request.transport is not None
        request.transport.close()
        return response

    def _prompt(self, body: dict[str, Any]) -> Tokens:
        return tuple(body["prompt"]) if "prompt" in body else self.tokenizer.render(body["messages"])

    def _usage(self, prompt: Tokens) -> dict[str, Any]:
        key = repr(prompt)
        cached = (len(prompt) - 1) // 16 * 16 if key in self._seen else 0
        self._seen.add(key)
        details = {"prompt_tokens_details": {"cached_tokens": cached}} if self.details else {}
        return {"prompt_tokens": len(prompt), **details}

    def _sample(self, body: dict[str, Any], prompt: Tokens, index: int) -> _Sample:
        seed = body.get("seed")
        text = self.answer(self.tokenizer.decode(prompt), None if seed is None else seed + index, index)
        if form := body.get("response_format"):
            text = json.dumps(_instance(form["json_schema"]["schema"]))
        for stop in body.get("stop") or ():
            text = text.split(stop, 1)[0]
        tokens = self.tokenizer.encode(text)
        texts = tuple(self.tokenizer.decode((token,)) for token in tokens)
        limit = body.get("max_tokens") or (self.window - len(prompt) if "messages" in body else 16)
        if body.get("ignore_eos"):
            repeats = limit // len(tokens) + 1
            tokens, texts = tokens * repeats, texts * repeats
        if len(tokens) >= limit:
            return _Sample(tokens[:limit], texts[:limit], "length")
        return _Sample((*tokens, END), (*texts, ""), "stop")

    def _plain(
        self, body: dict[str, Any], prompt: Tokens, samples: list[_Sample], usage: dict[str, Any]
    ) -> dict[str, Any]:
        choices: list[dict[str, Any]] = []
        for index, sample in enumerate(samples):
            choice: dict[str, Any] = {"index": index, "finish_reason": sample.finish}
            if "prompt" in body:
                choice["text"] = sample.text
                if body.get("prompt_logprobs") is not None and self._is_vllm:
                    rows = [{str(token): {"logprob": _logprob(token), "rank": 1}} for token in prompt[1:]]
                    choice["prompt_logprobs"] = [None, *rows]
            elif tool := self._tool(body):
                call = {"id": "call_a", "type": "function", "function": {"name": tool, "arguments": '{"a": 1}'}}
                choice["message"] = {"role": "assistant", "content": None, "tool_calls": [call]}
                choice["finish_reason"] = "tool_calls"
            else:
                choice["message"] = {"role": "assistant", "content": sample.text}
                if self.reasoning:
                    choice["message"]["reasoning_content"] = self.reasoning
            choices.append({**choice, **self._extras(body, sample.tokens, sample.texts)})
        total = sum(len(sample.tokens) for sample in samples)
        return {"id": "x", "choices": choices, "usage": {**usage, "completion_tokens": total}}

    def _extras(self, body: dict[str, Any], tokens: Tokens, texts: tuple[str, ...]) -> dict[str, Any]:
        """Ids and log-probabilities, where they are asked for."""
        found: dict[str, Any] = {}
        if body.get("return_token_ids") and self._is_vllm:
            found["token_ids"] = list(tokens)
        if body.get("logprobs") is None or body.get("logprobs") is False:
            return found
        pairs = [(text, _logprob(token)) for token, text in zip(tokens, texts, strict=True)]
        if "prompt" in body:
            tops = [{text: value, "?": value - 1} for text, value in pairs]
            named = {"tokens": list(texts), "token_logprobs": [value for _, value in pairs], "top_logprobs": tops}
            return {**found, "logprobs": named}
        top = body.get("top_logprobs") or 0
        rows = [
            {
                "token": text,
                "logprob": value,
                "top_logprobs": [{"token": text if not i else f"?{i}", "logprob": value - i} for i in range(top)],
            }
            for text, value in pairs
        ]
        return {**found, "logprobs": {"content": rows}}

    def _tool(self, body: dict[str, Any]) -> str | None:
        return body["tools"][0]["function"]["name"] if body.get("tools") else None

    async def _stream(
        self,
        request: web.Request,
        body: dict[str, Any],
        prompt: Tokens,
        samples: list[_Sample],
        usage: dict[str, Any],
        latency_s: float,
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        options = body.get("stream_options") or {}
        each = bool(options.get("continuous_usage_stats")) and self._is_vllm
        await response.write(b": hello\n\n")
        async for index, place in self._steps(samples, latency_s):
            sample = samples[index]
            choice = self._chunk(body, index, sample, place)
            event: dict[str, Any] = {"id": "x", "choices": [choice]}
            if each:
                event["usage"] = {"prompt_tokens": len(prompt), "completion_tokens": place + 1}
            await response.write(f"data: {json.dumps(event)}\n\n".encode())
        if options.get("include_usage"):
            total = sum(len(sample.tokens) for sample in samples)
            event = {"id": "x", "choices": [], "usage": {**usage, "completion_tokens": total}}
            await response.write(f"data: {json.dumps(event)}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
        return response

    async def _steps(self, samples: list[_Sample], latency_s: float) -> AsyncIterator[tuple[int, int]]:
        """(sample, token) in the order in which they are written: one token of every sample a step."""
        for place in range(max(len(sample.tokens) for sample in samples)):
            if latency_s:
                await asyncio.sleep(latency_s / max(len(sample.tokens) for sample in samples))
            for index, sample in enumerate(samples):
                if place < len(sample.tokens):
                    yield index, place

    def _chunk(self, body: dict[str, Any], index: int, sample: _Sample, place: int) -> dict[str, Any]:
        text, last = sample.texts[place], place == len(sample.tokens) - 1
        choice: dict[str, Any] = {"index": index, "finish_reason": sample.finish if last else None}
        if "prompt" in body:
            choice["text"] = text
        elif tool := self._tool(body):
            function = {"name": tool, "arguments": '{"a"'} if place == 0 else {"arguments": ": 1}" if last else ""}
            call = {"index": 0, "function": function, **({"id": "call_a"} if place == 0 else {})}
            choice["delta"] = {"tool_calls": [call]}
        elif place == 0 and self.reasoning:
            choice["delta"] = {"role": "assistant", "reasoning_content": self.reasoning, "content": text}
        else:
            choice["delta"] = {"content": text}
        return {**choice, **self._extras(body, (sample.tokens[place],), (text,))}


def _instance(schema: dict[str, Any]) -> Any:
    """A value of a simple schema."""
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("type") == "array":
        return [_instance(schema["items"])] if "items" in schema else []
    if schema.get("type") == "object":
        return {name: _instance(each) for name, each in schema.get("properties", {}).items()}
    return {"boolean": True, "string": "a", "integer": 1, "number": 0.5}.get(str(schema.get("type")))


def _logprob(token: int) -> float:
    return -(token % 101) / 100


def left(server: OpenAIServer) -> int:
    """Requests whose client went away, once nothing runs."""
    deadline_s = time.monotonic() + 10
    while server.running and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert server.running == 0
    return server.left


def said(message: str) -> bytes:
    """An error's body."""
    return json.dumps({"error": {"message": message, "code": 400}}).encode()
