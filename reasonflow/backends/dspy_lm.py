"""Any `dspy.LM` as an engine: hosted models, servers of one's own, custom engines, and LMs that are only a `forward`.

Each sample is one call through DSPy's own execution path, which knows all of these and tells usage and finish reasons.
Never from DSPy's cache (n equal calls would get one answer n times, and a run's counts say what was spent), and never
retried by DSPy: our runtime tries again. What such an engine lacks stands in its fingerprint.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import dspy
from dspy.clients._litellm import get_litellm
from dspy.clients.backend_selection import select_backend
from dspy.clients.base_lm import BaseLM
from dspy.clients.execution import aexecute, execute, prepare
from dspy.utils.dummies import DummyLM

from reasonflow.backends.deaths import closed
from reasonflow.backends.dspy_lm_words import OF_CALLS, Reply, abilities, options_of, our_error, reply_of
from reasonflow.backends.protocol import Capabilities, Completion, Counters, Observer, Piece, Request, Tokens
from reasonflow.errors import BackendError, EngineDead, InputError, first_failure
from reasonflow.runtime.price import model_facts

MAX_RUNNING = 16
"""Calls under way at once where nobody says otherwise."""
_PATIENCE_S = 60.0
"""The longest wait that a server may ask for before it is asked again."""
_CANCELLED = Completion(text="", output_tokens=0, prompt_tokens=0, finish_reason="cancelled")


@dataclass(slots=True)
class _Call:
    """One request on its way."""

    request: Request
    options: list[dict[str, Any]]
    """Of each sample's call."""
    observe: Observer | None
    arrived_s: float = field(default_factory=time.perf_counter)
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    done: dict[int, Completion] = field(default_factory=dict)
    failed: bool = False
    """One sample failed: its siblings are stopped and not told."""


class DspyLmBackend:
    """An engine that asks a DSPy language model.

    max_running: calls under way at once. window: tokens of prompt and output; None: what LiteLLM's map of models says.
    seeds: the model repeats itself for equal seeds; they are sent where it is known to take them, or where it is said.

    One instance serves one event loop at a time.
    """

    def __init__(
        self,
        lm: dspy.BaseLM,
        *,
        max_running: int = MAX_RUNNING,
        window: int | None = None,
        seeds: bool = False,
        find: Callable[[], dspy.BaseLM] | None = None,
    ) -> None:
        """find: gives the LM to ask in place of `lm`, so that this engine does not keep it alive."""
        for name, number in (("max_running", max_running), ("window", window)):
            if number is not None and number < 1:
                raise InputError(f"{name} is {number}", fix=f"give {name} a positive number")
        facts = model_facts(lm.model)
        self._bare = not owns_its_calls(lm)
        """Whether it asks a copy of its own."""
        self._find = find or _constant(_bare(lm) if self._bare else lm)
        self._model: str = lm.model
        self._able = abilities(lm, seeds=seeds)
        self._seeds = seeds
        self._blocking = _is_blocking(lm)
        self._streams = _streams(lm)
        self._window = window or facts.get("max_input_tokens")
        self._default = lm.kwargs.get("max_completion_tokens") or facts.get("max_output_tokens")
        self._max_running = max_running
        self._names = _names(lm)
        self._slots: anyio.Semaphore | None = None
        self._limiter: anyio.CapacityLimiter | None = None
        self._calls: list[_Call] = []
        self._dead: EngineDead | None = None
        self._started = False
        self._estimated = False
        self._dropped: set[str] = set()
        self._running = self._waiting = 0
        self._prompt_tokens = self._cached_tokens = self._output_tokens = 0

    @property
    def lm(self) -> dspy.BaseLM:
        """What is asked."""
        return self._find()

    @property
    def closed(self) -> bool:
        return self._dead is not None

    @property
    def model(self) -> str:
        return self._model

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            abort=not self._blocking,
            partial_counts=False,
            seeds=self._seeds,
            ignore_eos="ignore_eos" in self._able.options,
            top_logprobs=20 if "logprobs" in self._able.options else 0,
            json_schema=self._able.json_schema,
            tools=self._able.tools,
            images=True,  # where its model takes them: hosted ones say so themselves
        )

    @property
    def tokenizer(self) -> None:
        return None

    @property
    def window(self) -> int | None:
        return self._window

    @property
    def block_size(self) -> None:
        return None

    @property
    def kv_tokens(self) -> None:
        return None

    @property
    def max_running(self) -> int:
        return self._max_running

    @property
    def default_max_tokens(self) -> int | None:
        return self._default

    def fingerprint(self) -> Mapping[str, str]:
        """`lacks`: what this engine cannot do or tell. `counts` is "estimated" once a reply came without its counts."""
        lacks = ["prefix sharing", "token counts of cancelled calls", "token counts of prompts before they are sent"]
        lacks += [] if self._seeds else ["repeatable samples"]
        lacks += ["a way to stop a call that has begun"] if self._blocking else []
        lacks += [] if self._streams else ["pieces of texts while they are written"]
        lacks += [f"options that were not sent: {', '.join(sorted(self._dropped))}"] if self._dropped else []
        counts = {"counts": "estimated: four characters a token"} if self._estimated else {}
        return {**self._names, "model": self._model, "lacks": ", ".join(lacks), **counts}

    async def start(self) -> None:
        if self._dead is not None:
            raise self._dead.anew()
        if not self._started:
            try:
                # Importing LiteLLM takes seconds, which would stand still for everybody on this loop.
                await anyio.to_thread.run_sync(_import_engine, self.lm)
            except Exception as error:
                raise our_error(error, self._model) from error
            self._started = True

    async def generate(self, request: Request, observe: Observer | None = None) -> tuple[Completion, ...]:
        await self.start()
        lm = self.lm
        options = [options_of(request, lm, self._able, index) for index in range(request.n)]
        call = _Call(request, options, observe)
        await self._all(call, lm)
        if self._dead is not None and len(call.done) < request.n:
            raise self._dead.anew()
        return tuple(call.done[index] for index in range(request.n))

    async def _all(self, call: _Call, lm: dspy.BaseLM) -> None:
        self._calls.append(call)
        try:
            async with anyio.create_task_group() as group:
                call.scope = group.cancel_scope
                for index in range(call.request.n):
                    group.start_soon(self._one, call, lm, index)
        except BaseExceptionGroup as failures:
            error = first_failure(failures)
            raise error from error.__cause__
        except anyio.get_cancelled_exc_class():
            if call.observe is not None and not call.failed:
                for index in range(call.request.n):
                    if index not in call.done:
                        call.observe((index, _CANCELLED))
            raise
        finally:
            self._calls.remove(call)

    async def _one(self, call: _Call, lm: dspy.BaseLM, index: int) -> None:
        try:
            completion = await self._sample(call, lm, index)
        except Exception as error:
            call.failed = True
            ours = our_error(error, self._model)
            if isinstance(ours, BackendError) and ours.transient:
                await anyio.sleep(min(_PATIENCE_S, getattr(error, "retry_after", None) or 0.0))
            raise ours from (None if ours is error else error)
        call.done[index] = completion
        if call.observe is not None:
            call.observe((index, completion))

    async def _sample(self, call: _Call, lm: dspy.BaseLM, index: int) -> Completion:
        if self._slots is None:
            self._slots = anyio.Semaphore(self._max_running)
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
        self._running += 1
        began_s = time.perf_counter()
        pieces = _Pieces(index, call.observe if call.request.stream else None)
        try:
            reply = await self._ask(call, lm, index, pieces)
        finally:
            self._running -= 1
            self._slots.release()
        end = reply.completion
        self._prompt_tokens += end.prompt_tokens
        self._cached_tokens += end.cached_tokens or 0
        self._output_tokens += end.output_tokens
        self._estimated |= reply.estimated
        self._dropped |= reply.dropped
        return replace(
            end,
            text=pieces.whole(end.text),
            queued_s=began_s - call.arrived_s,
            first_token_s=None if pieces.first_s is None else pieces.first_s - call.arrived_s,
            total_s=time.perf_counter() - call.arrived_s,
        )

    async def _ask(self, call: _Call, lm: dspy.BaseLM, index: int, pieces: _Pieces) -> Reply:
        messages = [dict(message) for message in call.request.prompt.messages]
        options = call.options[index]
        if owns_its_calls(lm):  # it adds its own settings: what it would say by itself is left to it
            options = {name: found for name, found in options.items() if lm.kwargs.get(name) != found}
        listener = pieces if self._streams and pieces.told else None
        # The runtime tells DSPy's trackers and histories of every call once, after the run.
        with dspy.context(
            disable_history=True, usage_tracker=None, callbacks=[], caller_predict=None, send_stream=listener,
            track_usage=listener is not None,  # else LiteLLM streams without counts
        ):  # fmt: skip
            if self._blocking:
                result = await anyio.to_thread.run_sync(
                    _execute, lm, messages, options, abandon_on_cancel=True, limiter=self._threads()
                )
            else:
                result = await aexecute(lm, _prepared(lm, messages, options, asynchronous=True))
        return reply_of(result, call.request, self._model)

    def _threads(self) -> anyio.CapacityLimiter:
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(self._max_running)
        return self._limiter

    async def score(self, prompt: Tokens, continuation: Tokens) -> tuple[float, ...]:
        raise BackendError(f"{self._model!r} scores no continuations", why="DSPy's language models have no such call")

    async def counters(self) -> Counters:
        """Over the calls of this engine that ended by themselves: of a cancelled one nothing is known."""
        return Counters(
            prompt_tokens=self._prompt_tokens,
            cached_tokens=self._cached_tokens,
            output_tokens=self._output_tokens,
            running=self._running,
            waiting=self._waiting,
        )

    async def aclose(self) -> None:
        if self._dead is not None:
            return
        self._dead = closed()
        self._dead.fix = "call the program again: it opens another one"
        for call in self._calls:
            call.failed = True
            call.scope.cancel()
        if self._started and self._bare:
            close = getattr(self.lm, "aclose", None)  # DummyLM has nothing to close
            if close is not None:
                await close()


class _Pieces:
    """DSPy's stream of one sample: what it sends becomes pieces that add up to the sample's text."""

    def __init__(self, index: int, observe: Observer | None) -> None:
        self._index, self._observe = index, observe
        self._shown = ""
        self._thinking = False
        self.first_s: float | None = None

    @property
    def told(self) -> bool:
        return self._observe is not None

    async def send(self, chunk: Any) -> None:
        """Called by DSPy."""
        for choice in chunk.choices[:1]:
            thought, text = getattr(choice.delta, "reasoning_content", None), getattr(choice.delta, "content", None)
            if thought:
                self._tell(thought if self._thinking else f"<think>{thought}")
                self._thinking = True
            if text:
                self._tell(f"</think>{text}" if self._thinking else text)
                self._thinking = False

    def whole(self, text: str) -> str:
        """The sample's text, its rest told: all of it where nothing was streamed."""
        if self._observe is None:
            return text
        if not text.startswith(self._shown):  # an engine that tidied the text up when it was complete
            return self._shown
        if len(text) > len(self._shown):
            self._tell(text[len(self._shown) :])
        return text

    def _tell(self, text: str) -> None:
        if self.first_s is None:
            self.first_s = time.perf_counter()
        self._shown += text
        assert self._observe is not None, "only what somebody watches is streamed"
        self._observe(Piece(index=self._index, text=text))


def owns_its_calls(lm: dspy.BaseLM) -> bool:
    """Whether the class brings a `forward` or `aforward` of its own, in place of DSPy's engines."""
    return not hasattr(lm, "_engine_spec") or _brings(lm, "forward") or _brings(lm, "aforward")


def standing(lm: dspy.BaseLM) -> dict[str, Any]:
    """Settings of the LM that hold for its engine: its connection, and what only its provider knows."""
    return {name: found for name, found in lm.kwargs.items() if name not in OF_CALLS}


def _brings(lm: dspy.BaseLM, method: str) -> bool:
    theirs = [getattr(kind, method) for kind in (BaseLM, dspy.LM, DummyLM)]
    return method in vars(lm) or getattr(type(lm), method) not in theirs


def _bare(lm: dspy.BaseLM) -> dspy.BaseLM:
    """A copy that says only what a request says, and asks once."""
    bare = lm.copy(num_retries=0, cache=False)
    bare.kwargs = {"temperature": None, "max_tokens": None, **standing(lm)}
    if "max_completion_tokens" in bare.kwargs:
        del bare.kwargs["max_tokens"]
    if isinstance(bare, dspy.LM):
        bare._engine_store = {}  # connections of its own: closing them must not end the user's
    return bare


def _constant(lm: dspy.BaseLM) -> Callable[[], dspy.BaseLM]:
    return lambda: lm


def _is_blocking(lm: dspy.BaseLM) -> bool:
    """Whether it can only be asked synchronously."""
    if owns_its_calls(lm):
        return not _brings(lm, "aforward")
    return not isinstance(lm._engine_spec, str) and getattr(lm, "_async_engine_spec", None) is None


def _streams(lm: dspy.BaseLM) -> bool:
    if owns_its_calls(lm) or _is_blocking(lm) or isinstance(lm, DummyLM):
        return False
    return isinstance(lm._engine_spec, str) or hasattr(lm._async_engine_spec, "stream")


def _names(lm: dspy.BaseLM) -> dict[str, str]:
    """Engine, server and versions, for the fingerprint. Without the query of an address: it may hold a key."""
    spec = None if owns_its_calls(lm) else lm._engine_spec
    engine = spec if isinstance(spec, str) else type(lm if spec is None else spec).__name__
    names = {"engine": f"dspy {engine}", "dspy": dspy.__version__}
    if spec in ("auto", "litellm"):
        try:
            names["litellm"] = version("litellm")
        except PackageNotFoundError:
            names["litellm"] = "none"
    if base := lm.kwargs.get("api_base") or lm.kwargs.get("base_url"):
        address = urlsplit(str(base))
        names["server"] = (
            f"{address.scheme}://{address.hostname}{f':{address.port}' if address.port else ''}{address.path}"
        )
    return names


def _import_engine(lm: dspy.BaseLM) -> None:
    if not owns_its_calls(lm) and isinstance(lm._engine_spec, str) and not select_backend(lm).native:
        get_litellm(feature="ReasonFlow")


def _prepared(lm: dspy.BaseLM, messages: list[dict[str, Any]], options: dict[str, Any], *, asynchronous: bool) -> Any:
    try:
        return prepare(lm, None, messages, {**options, "cache": False} if hasattr(lm, "_engine_spec") else options,
                       asynchronous=asynchronous)  # fmt: skip
    except (TypeError, ValueError) as error:
        raise InputError(f"{lm.model!r} cannot be asked this", why=str(error), fix="mend the inputs") from error


def _execute(lm: dspy.BaseLM, messages: list[dict[str, Any]], options: dict[str, Any]) -> Any:
    return execute(lm, _prepared(lm, messages, options, asynchronous=False))
