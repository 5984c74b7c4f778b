"""A server that answers every chat with one constant, for measuring clients. Run as a module, it prints its port."""

from __future__ import annotations

import asyncio
import json

from aiohttp import web

ANSWER = r"There are \boxed{25}."
MODEL = "constant"
_LATENCY_S = 0.01
"""Long enough that all requests of a wave are open at once, as with a model."""
_REPLY = json.dumps(
    {
        "id": "chatcmpl-0",
        "object": "chat.completion",
        "created": 0,
        "model": MODEL,
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": ANSWER}}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
    }
).encode()


async def _chat(request: web.Request) -> web.Response:
    await request.read()
    await asyncio.sleep(_LATENCY_S)
    return web.Response(body=_REPLY, content_type="application/json")


async def _models(request: web.Request) -> web.Response:
    return web.json_response({"data": [{"id": MODEL, "object": "model", "owned_by": "vllm", "max_model_len": 8192}]})


async def serve() -> None:
    """Serve on a free port of this machine until the process ends."""
    app = web.Application()
    app.router.add_get("/v1/models", _models)
    app.router.add_post("/v1/chat/completions", _chat)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve())
