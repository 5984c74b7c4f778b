"""From the loop a run lives on to the engine a call goes to, which may have a loop of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

from reasonflow.backends.protocol import Backend, Completion, Prompt, Request
from reasonflow.runtime.fitting import prompt_tokens
from reasonflow.runtime.runtime import Runtime
from reasonflow.runtime.scheduler import Ticket


def send(
    home: Runtime,
    runtime: Runtime,
    request: Request,
    observe: Callable[[Any], None],
    ticket: Ticket,
    places: Sequence[int] | None = None,
) -> Coroutine[Any, Any, Any]:
    """`runtime.generate`, awaited on the home's loop; `observe` is told there."""
    if runtime is home:
        return runtime.generate(request, observe, ticket, places)
    return _send_away(runtime, request, observe, ticket, places)


async def _send_away(
    runtime: Runtime,
    request: Request,
    observe: Callable[[Any], None],
    ticket: Ticket,
    places: Sequence[int] | None,
) -> None:
    loop = asyncio.get_running_loop()

    def observe_there(seen: Any) -> None:  # on the other engine's thread
        loop.call_soon_threadsafe(observe, seen)

    await runtime.arun(lambda: runtime.generate(request, observe_there, ticket, places))


def output_limit(backend: Backend, prompt: Prompt, *caps: int | None) -> int | None:
    """Output tokens a sample can write at most after a prompt; None where neither a cap nor a window is known."""
    window = backend.window
    left = None if window is None or prompt.tokens is None else max(1, window - len(prompt.tokens))
    return min((limit for limit in (*caps, left) if limit is not None), default=None)


def counted(completion: Completion, backend: Backend, prompt: Prompt, limit: int | None) -> Completion:
    """The completion as a budget takes it: a cancelled one whose engine cannot say how far it had come counts as all
    it was allowed to write. One that its gate has ended had told its tokens until then.
    """
    if completion.finish_reason == "gated" and completion.output_tokens:
        return completion
    if completion.finish_reason not in ("cancelled", "gated") or backend.capabilities.partial_counts:
        return completion
    return replace(completion, prompt_tokens=prompt_tokens(prompt), output_tokens=limit or backend.window or 0)
