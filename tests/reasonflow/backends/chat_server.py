"""A deterministic server that speaks `/v1/chat/completions`, on a thread of its own."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from aiohttp import web

Say = Callable[[dict[str, Any]], str]
Body = dict[str, Any]


def words(text: str) -> list[str]:
    """Its tokens: a word with the space behind it."""
    return re.findall(r"\S+\s*", text)


class ChatServer:
    """say: the answer to a request's body. A word is a token and takes `token_s` seconds.

    `status`: answers the next requests with these HTTP statuses, one each. `counts`: whether it reports usage.
    """

    def __init__(self, say: Say, token_s: float = 0.0) -> None:
        self.say, self.token_s = say, token_s
        self.bodies: list[Body] = []
        self.running = self.most = self.broken_off = 0
        self.failures: list[tuple[int, dict[str, str], Body]] = []
        self.counts = True
        self.thinking = ""
        self.url = ""

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        if self.failures:
            status, headers, error = self.failures.pop(0)
            return web.json_response({"error": error}, status=status, headers=headers)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            return await self._answer(request, body)
        except asyncio.CancelledError:
            self.broken_off += 1
            raise
        finally:
            self.running -= 1

    async def _answer(self, request: web.Request, body: Body) -> web.StreamResponse:
        text, reason = self.say(body), "stop"
        for stop in body.get("stop") or ():
            text = text.split(stop, 1)[0]
        tokens = words(text)
        cap = body.get("max_tokens") or body.get("max_completion_tokens")
        if cap is not None and len(tokens) > cap:
            tokens, reason = tokens[:cap], "length"
        asked = sum(len(words(str(message["content"]))) for message in body["messages"])
        usage = {
            "prompt_tokens": asked,
            "completion_tokens": len(tokens),
            "total_tokens": asked + len(tokens),
            "prompt_tokens_details": {"cached_tokens": 1},
        }
        if body.get("stream"):
            return await self._stream(request, body, tokens, reason, usage)
        await asyncio.sleep(self.token_s * len(tokens))
        message: Body = {"role": "assistant", "content": "".join(tokens)}
        if self.thinking:
            message["reasoning_content"] = self.thinking
        if body.get("tools"):
            call = {"name": body["tools"][0]["function"]["name"], "arguments": '{"city": "Paris"}'}
            message["tool_calls"] = [{"id": "call-1", "type": "function", "function": call}]
        choice: Body = {"index": 0, "message": message, "finish_reason": reason}
        if body.get("logprobs"):
            tops = [{"token": "other", "logprob": -2.0, "bytes": None}] * (body.get("top_logprobs") or 0)
            content = [{"token": each, "logprob": -0.5, "bytes": None, "top_logprobs": tops} for each in tokens]
            choice["logprobs"] = {"content": content}
        reply = {"id": "1", "object": "chat.completion", "created": 1, "model": body["model"], "choices": [choice]}
        return web.json_response({**reply, **({"usage": usage} if self.counts else {})})

    async def _stream(
        self, request: web.Request, body: Body, tokens: list[str], reason: str, usage: Body
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)

        async def send(choices: list[Body], **more: Any) -> None:
            head = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}
            await response.write(f"data: {json.dumps({**head, 'choices': choices, **more})}\n\n".encode())

        if self.thinking:
            for each in words(self.thinking):
                await send([{"index": 0, "delta": {"reasoning_content": each}, "finish_reason": None}])
        for each in tokens:
            await asyncio.sleep(self.token_s)
            await send([{"index": 0, "delta": {"content": each}, "finish_reason": None}])
        await send([{"index": 0, "delta": {}, "finish_reason": reason}])
        if (body.get("stream_options") or {}).get("include_usage"):
            await send([], usage=usage)
        await response.write(b"data: [DONE]\n\n")
        return response


@contextmanager
def serving(say: Say, token_s: float = 0.0) -> Iterator[ChatServer]:
    """A server that answers while the block runs; `server.url` ends with /v1."""
    server, loop, ready = ChatServer(say, token_s), asyncio.new_event_loop(), threading.Event()

    async def serve() -> None:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", server.chat)
        # Without `handler_cancellation` a request whose client has left would go on.
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.5)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        ready.set()
        try:
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()

    task = loop.create_task(serve())

    def run() -> None:
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(task)
        loop.close()

    thread = threading.Thread(target=run, name="chat-server", daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join(10)
