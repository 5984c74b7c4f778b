"""Our engines behind DSPy's engine contract: any DSPy module runs on them.

A handle stands for an engine rather than holding one: copies are the handle itself, and what is pickled or saved is the
specification, which finds the running engine again. DSPy borrows engines, so `lm.close()` leaves them running;
`lm.engine.close()` stops one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any

import anyio
from dspy import lm15
from dspy.utils.exceptions import LMError

from reasonflow.backends.protocol import Completion, Piece, Request
from reasonflow.backends.registry import Engine, EngineSpec, engine_for
from reasonflow.backends.translation import (
    PER_CALL,
    check_settings,
    finish_reason,
    our_request,
    their_error,
    their_response,
    usage,
)
from reasonflow.errors import BackendError, ProgramError
from reasonflow.prompts.thinking import ThinkingStream, opens_thought
from reasonflow.runtime.runtime import Runtime


class CalledWhileTracing(ProgramError, LMError):
    """A model was called by DSPy inside `plan`. It is a DSPy error too, so that DSPy passes it on as it is."""


class EngineHandle:
    """DSPy's synchronous engine over one of ours.

    settings: sampling options that DSPy refuses in calls (`min_p`, `priority`, ...); they hold for every call.
    """

    supported_params = PER_CALL

    def __init__(self, spec: EngineSpec, settings: Mapping[str, Any] | None = None) -> None:
        self.spec = spec
        self.settings: Mapping[str, Any] = dict(settings or {})
        check_settings(self.settings)
        self._engine: Engine = engine_for(spec)

    @property
    def runtime(self) -> Runtime:
        """Where programs run beside this engine. Asking for it starts nothing: the first request does."""
        return self._engine.runtime

    def complete(self, request: Any) -> Any:
        """One lm15 response. From any thread; inside an asyncio loop it blocks that loop."""
        refuse_while_tracing()
        with _Boundary(self.spec.model):
            return self.runtime.run(lambda: _complete(self, request))

    def stream(self, request: Any) -> Iterator[Any]:
        """lm15 events: start, deltas, end. Closing the iterator early aborts the request."""
        refuse_while_tracing()
        with _Boundary(self.spec.model):
            live = _LiveRequest(self, request)
            try:
                self.runtime.run(live.open)
                while events := self.runtime.run(live.read):
                    yield from events
            finally:
                self.runtime.run(live.close)

    def close(self) -> None:
        """Stop the engine for everyone who shares it. Idempotent."""
        self._engine.close()

    def dump_state(self) -> dict[str, Any]:
        return {**self.spec.to_json(), "settings": dict(self.settings)}

    @classmethod
    def load_state(cls, state: Mapping[str, Any]) -> EngineHandle:
        """The handle of the running engine of this specification, or of one that opens when needed."""
        return cls(EngineSpec.from_json(state), state.get("settings"))

    def __copy__(self) -> EngineHandle:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> EngineHandle:
        return self

    def __reduce__(self) -> tuple[Callable[..., EngineHandle], tuple[dict[str, Any]]]:
        return EngineHandle.load_state, (self.dump_state(),)

    def __repr__(self) -> str:
        return f"<{self.spec.kind} engine {self.spec.model!r}>"


class AsyncEngineHandle:
    """DSPy's asynchronous engine over the same one; see EngineHandle."""

    supported_params = PER_CALL

    def __init__(self, handle: EngineHandle) -> None:
        self.handle = handle

    @property
    def runtime(self) -> Runtime:
        return self.handle.runtime

    async def complete(self, request: Any) -> Any:
        """One lm15 response. Cancelling the call aborts the request."""
        refuse_while_tracing()
        with _Boundary(self.handle.spec.model):
            return await self.runtime.arun(lambda: _complete(self.handle, request))

    async def stream(self, request: Any) -> AsyncIterator[Any]:
        """lm15 events: start, deltas, end. Closing the iterator early aborts the request."""
        refuse_while_tracing()
        with _Boundary(self.handle.spec.model):
            live = _LiveRequest(self.handle, request)
            try:
                await self.runtime.arun(live.open)
                while events := await self.runtime.arun(live.read):
                    for event in events:
                        yield event
            finally:
                with anyio.CancelScope(shield=True):
                    await self.runtime.arun(live.close)

    async def aclose(self) -> None:
        """Stop the engine for everyone who shares it. Idempotent."""
        await anyio.to_thread.run_sync(self.handle.close)

    def dump_state(self) -> dict[str, Any]:
        return self.handle.dump_state()

    @classmethod
    def load_state(cls, state: Mapping[str, Any]) -> AsyncEngineHandle:
        return cls(EngineHandle.load_state(state))

    def __copy__(self) -> AsyncEngineHandle:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> AsyncEngineHandle:
        return self

    def __reduce__(self) -> tuple[Callable[..., AsyncEngineHandle], tuple[dict[str, Any]]]:
        return AsyncEngineHandle.load_state, (self.dump_state(),)

    def __repr__(self) -> str:
        return f"<async {self.handle!r:.200}>"


def refuse_while_tracing() -> None:
    """Raises CalledWhileTracing inside a `plan`: the model would be asked about symbolic values."""
    # Here, not above: the language imports engines to find their runtimes.
    from reasonflow.language.tracing import is_tracing

    if is_tracing():
        raise CalledWhileTracing(
            "a language model was called inside `plan`",
            why="a plan is traced over symbolic values before anything runs; there is nothing to ask a model yet",
            fix="use an rf.Generate call site, or wrap the DSPy module in rf.call(module, ...)",
        )


class _Boundary:
    """Our errors leave as lm15 errors, with ours as their cause. Cancellation passes untouched."""

    def __init__(self, model: str) -> None:
        self._model = model

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception):
            theirs = their_error(error, self._model)
            if theirs is not error:
                raise theirs from error


async def _complete(handle: EngineHandle, request: Any) -> Any:
    ours, opened = _prepared(handle, request)
    (completion,) = await handle.runtime.generate(ours)
    return their_response(completion, ours, request.model, opened=opened)


def _prepared(handle: EngineHandle, request: Any) -> tuple[Request, bool]:
    """Rendered on the runtime's loop: one thread at a time uses the tokenizer."""
    backend = handle.runtime.backend
    ours = our_request(request, backend, handle.settings)
    tokens, tokenizer = ours.prompt.tokens, backend.tokenizer
    return ours, tokens is not None and tokenizer is not None and opens_thought(tokens, tokenizer)


class _LiveRequest:
    """A request that is read while it is generated. Its coroutines run on the runtime's loop; others may wait for them.

    One task lives from `open` to `close`; whoever opens it closes it, also when reading was interrupted.
    """

    def __init__(self, handle: EngineHandle, request: Any) -> None:
        self._handle = handle
        self._request = request
        self._task: asyncio.Task[tuple[Completion, ...]] | None = None
        self._events: list[Any] = [lm15.StreamStartEvent(model=request.model)]
        self._news = asyncio.Event()

    async def open(self) -> None:
        ours, opened = _prepared(self._handle, self._request)
        split = ThinkingStream(opened=opened)
        shown = ""

        def observe(seen: Piece | tuple[int, Completion]) -> None:
            nonlocal shown
            if isinstance(seen, Piece):
                shown += seen.text
                self._events.extend(map(_delta, split.feed(seen.text)))
            else:
                self._events.extend(map(_delta, split.feed(_rest(seen[1].text, shown))))
                self._events.extend(map(_delta, split.rest()))
                self._events.append(lm15.StreamEndEvent(finish_reason=finish_reason(seen[1]), usage=usage(seen[1])))
            self._news.set()

        self._task = asyncio.create_task(self._handle.runtime.generate(replace(ours, stream=True), observe))
        self._task.add_done_callback(lambda _: self._news.set())

    async def read(self) -> list[Any]:
        """The events since the last call, at least one; none after the end. Raises what the engine raised."""
        while not self._events:
            if self._task is None or self._task.done():
                if self._task is not None:
                    self._task.result()
                return []
            self._news.clear()
            await self._news.wait()
        events, self._events = self._events, []
        return events

    async def close(self) -> None:
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait([self._task])
        if not self._task.cancelled():
            self._task.exception()  # seen by `read`, or no longer of interest to who closed early


def _rest(text: str, shown: str) -> str:
    """What the pieces have not shown: something only where the sample was begun again after a failure.

    Raises BackendError where it has become another text.
    """
    if not text.startswith(shown):
        raise BackendError(
            "the stream broke off: its engine failed and answers differently now",
            why="an engine repeats a text only in the same batch, and not without a seed",
            fix="ask again",
        )
    return text[len(shown) :]


def _delta(piece: tuple[bool, str]) -> Any:
    inside, text = piece
    return lm15.StreamDeltaEvent(lm15.ThinkingDelta(text) if inside else lm15.TextDelta(text))
