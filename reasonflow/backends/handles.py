"""Our engines behind DSPy's engine contract: any DSPy module runs on them.

A handle stands for an engine rather than holding one: copies are the handle itself, and what is pickled or saved is the
specification, which finds the running engine again. DSPy borrows engines, so `lm.close()` leaves them running;
`lm.engine.close()` stops one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any

import anyio

from reasonflow.backends.live_request import LiveRequest
from reasonflow.backends.protocol import Completion, Observer, Request
from reasonflow.backends.registry import Engine, EngineSpec, engine_for
from reasonflow.backends.translation import (
    check_settings,
    fresh_seed,
    our_request,
    start_event,
    supported,
    their_error,
    their_response,
)
from reasonflow.errors import BackendError, ProgramError
from reasonflow.prompts.thinking import opens_thought
from reasonflow.runtime.ambient import ambient
from reasonflow.runtime.runtime import Runtime

if TYPE_CHECKING:
    from reasonflow.runtime.aside import Asking


class EngineHandle:
    """DSPy's synchronous engine over one of ours.

    settings: sampling options that DSPy refuses in calls (`min_p`, `priority`, ...); they hold for every call.
    """

    def __init__(self, spec: EngineSpec, settings: Mapping[str, Any] | None = None) -> None:
        self.spec = spec
        self.settings: Mapping[str, Any] = dict(settings or {})
        check_settings(self.settings)
        self._engine: Engine = engine_for(spec)

    @property
    def runtime(self) -> Runtime:
        """Where programs run beside this engine. Asking for it starts nothing: the first request does."""
        return self._engine.runtime

    @property
    def supported_params(self) -> frozenset[str]:
        """What DSPy's adapters may ask of it."""
        return supported(self._engine.capabilities)

    @property
    def supports_response_schema(self) -> bool:
        return self._engine.capabilities.json_schema

    @property
    def supports_function_calling(self) -> bool:
        return self._engine.capabilities.tools

    def complete(self, request: Any) -> Any:
        """One lm15 response. From any thread; inside an asyncio loop it blocks that loop."""
        with _Boundary(self.spec.model):
            refuse_while_tracing()
            inside = ambient().inside
            return self._home(inside).run(lambda: _complete(self, request, inside))

    def stream(self, request: Any) -> Iterator[Any]:
        """lm15 events: start, deltas, end. Closing the iterator early aborts the request."""
        with _Boundary(self.spec.model):
            refuse_while_tracing()
            inside = ambient().inside
            home, live = self._home(inside), self._live(request, inside)
            try:
                home.run(live.open)
                while events := home.run(live.read):
                    yield from events
            finally:
                home.run(live.close)

    def _live(self, request: Any, inside: Asking | None) -> LiveRequest:
        return LiveRequest(
            start_event(request),
            lambda: _prepared(self, request, inside),
            lambda ours, observe: _ask(self.runtime, ours, inside, observe),
        )

    def _home(self, inside: Asking | None) -> Runtime:
        """Whose loop a call runs on: that of the run it is made in, if it is made in one."""
        return self.runtime if inside is None else inside.home

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

    def __init__(self, handle: EngineHandle) -> None:
        self.handle = handle

    @property
    def runtime(self) -> Runtime:
        return self.handle.runtime

    async def complete(self, request: Any) -> Any:
        """One lm15 response. Cancelling the call aborts the request."""
        with _Boundary(self.handle.spec.model):
            refuse_while_tracing()
            inside = ambient().inside
            return await self.handle._home(inside).arun(lambda: _complete(self.handle, request, inside))

    async def stream(self, request: Any) -> AsyncIterator[Any]:
        """lm15 events: start, deltas, end. Closing the iterator early aborts the request."""
        with _Boundary(self.handle.spec.model):
            refuse_while_tracing()
            inside = ambient().inside
            home, live = self.handle._home(inside), self.handle._live(request, inside)
            try:
                await home.arun(live.open)
                while events := await home.arun(live.read):
                    for event in events:
                        yield event
            finally:
                with anyio.CancelScope(shield=True):
                    await home.arun(live.close)

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
    """Raises ProgramError inside a `plan`: the model would be asked about symbolic values."""
    # Here, not above: the language imports engines to find their runtimes.
    from reasonflow.language.tracing import is_tracing

    if is_tracing():
        raise ProgramError(
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


async def _complete(handle: EngineHandle, request: Any, inside: Asking | None) -> Any:
    ours, opened = _prepared(handle, request, inside)
    completion = await _ask(handle.runtime, ours, inside)
    return their_response(completion, ours, request, opened=opened)


async def _ask(
    runtime: Runtime, request: Request, inside: Asking | None, observe: Observer | None = None
) -> Completion:
    """One sample. DSPy's own retries are the only ones, but for a call that is part of a run of ours."""
    if inside is not None:
        try:
            return await inside.ask(runtime, request, observe)
        except BackendError as error:
            error.transient = False  # it was tried again: DSPy is not to begin anew
            raise
    (completion,) = await runtime.generate(request, observe, retries=0)
    return completion


def _prepared(handle: EngineHandle, request: Any, inside: Asking | None) -> tuple[Request, bool]:
    """(our request, whether its prompt ends inside a thought). On a runtime's loop: the caller's own is not held up."""
    backend = handle.runtime.backend
    ours = our_request(request, backend, handle.settings)
    if ours.sampling.seed is None and inside is None:
        ours = replace(ours, sampling=replace(ours.sampling, seed=fresh_seed()))
    tokens, tokenizer = ours.prompt.tokens, backend.tokenizer
    return ours, tokens is not None and tokenizer is not None and opens_thought(tokens, tokenizer)
