"""Programs as models of LiteLLM: whatever is built on LiteLLM calls `reasonflow/NAME`.

```python
register("pdr", rf.PDR(), lm=rf.vllm("Qwen/Qwen3-8B"))
litellm.completion(model="reasonflow/pdr", messages=[{"role": "user", "content": "How many primes are below 100?"}])
```

The last user message is the program's input; a program with several takes it as the text of a JSON object. The answer
is the reply's content, usage is the sum over the run's calls, and `response._hidden_params["reasonflow"]` says how the
run went. Streams bring the answer when it is there: what the branches write on the way is no part of it.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, nullcontext
from typing import Any

import anyio
import anyio.from_thread
import dspy
import litellm
from dspy.utils.exceptions import AdapterParseError
from litellm.types.utils import Choices, GenericStreamingChunk, Message, ModelResponse, PromptTokensDetailsWrapper
from litellm.utils import custom_llm_setup

from reasonflow.errors import (
    BackendError,
    BudgetExceeded,
    InputError,
    ProgramError,
    PromptTooLong,
    ReasonFlowError,
    UnknownName,
)
from reasonflow.language.program import Program
from reasonflow.runtime.events import Finished
from reasonflow.runtime.launch import ProgramOutput

PROVIDER = "reasonflow"
_HARMLESS = frozenset(
    {"stream", "stream_options", "user", "metadata", "extra_headers", "max_retries", "parallel_tool_calls"}
)
"""Parameters that ask nothing of the answer."""


class _Registered:
    """A program, and the language model it runs on."""

    def __init__(self, program: Program, lm: dspy.BaseLM | None) -> None:
        self.program, self.lm = program, lm

    def context(self) -> Any:
        return nullcontext() if self.lm is None else dspy.context(lm=self.lm)


_PROGRAMS: dict[str, _Registered] = {}


def register(name: str, program: Program, *, lm: dspy.BaseLM | None = None) -> None:
    """Make `reasonflow/NAME` answer with this program. A name that is taken is given to the new program.

    lm: what it runs on; None: the language model of the caller's DSPy context. Raises InputError.
    """
    if not name or name != name.strip():
        raise InputError(f"{name!r} is no name for a program", fix="give a word, as in register('pdr', program)")
    if not isinstance(program, Program):
        raise InputError(
            f"{name!r} is to be a {type(program).__name__}, which is no ReasonFlow program",
            fix="register an rf.Program; wrap other DSPy modules in one with rf.call",
        )
    _PROGRAMS[name] = _Registered(program, lm)
    if not any(item["custom_handler"] is _HANDLER for item in litellm.custom_provider_map):
        litellm.custom_provider_map.append({"provider": PROVIDER, "custom_handler": _HANDLER})
    custom_llm_setup()


def unregister(name: str) -> None:
    """Forget a program. Raises UnknownName."""
    if name not in _PROGRAMS:
        raise UnknownName.among("program", name, _PROGRAMS)
    del _PROGRAMS[name]


class ReasonFlowLLM(litellm.CustomLLM):
    """LiteLLM's side. Its methods are called with some twenty arguments by name; these are what matters here."""

    def completion(self, model: str, messages: Sequence[Any], model_response: Any, **call: Any) -> Any:
        """Runs the program and waits. An interruption cancels the run."""
        found, inputs = _prepared(model, messages, call)
        try:
            with found.context():
                output = found.program(**inputs)
            return _response(output, model, model_response)
        except (ReasonFlowError, AdapterParseError) as error:
            raise _their_error(error, model) from error

    async def acompletion(self, model: str, messages: Sequence[Any], model_response: Any, **call: Any) -> Any:
        """As `completion`; cancelling it, or its timeout, cancels the run."""
        found, inputs = _prepared(model, messages, call)
        try:
            with found.context():
                output = await _in_time(found.program.acall(**inputs), call.get("timeout"), model)
            return _response(output, model, model_response)
        except (ReasonFlowError, AdapterParseError) as error:
            raise _their_error(error, model) from error

    def streaming(self, model: str, messages: Sequence[Any], **call: Any) -> Iterator[Any]:
        """Closing the stream early cancels the run."""
        found, inputs = _prepared(model, messages, call)  # before anybody reads: a wrong call fails where it is made
        return self._chunks(found, inputs, model)

    def _chunks(self, found: _Registered, inputs: Mapping[str, Any], model: str) -> Iterator[Any]:
        with anyio.from_thread.start_blocking_portal() as portal:
            chunks = _astream(found, inputs, model)
            try:
                while (chunk := portal.call(_next, chunks)) is not None:
                    yield chunk
            finally:
                portal.call(_close, chunks)

    async def astreaming(self, model: str, messages: Sequence[Any], **call: Any) -> AsyncIterator[Any]:
        """Closing the stream early cancels the run."""
        found, inputs = _prepared(model, messages, call)
        async with aclosing(_astream(found, inputs, model)) as chunks:
            async for chunk in chunks:
                yield chunk


async def _astream(found: _Registered, inputs: Mapping[str, Any], model: str) -> AsyncGenerator[Any, None]:
    output = None
    try:
        with found.context():
            events: Any = found.program.stream(**inputs)
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Finished):
                    output = event.output
    except (ReasonFlowError, AdapterParseError) as error:
        raise _their_error(error, model) from error
    assert output is not None, "a run's last event carries its output"
    yield _chunk(_answer(output))
    yield _chunk("", output)


async def _next(chunks: AsyncIterator[Any]) -> Any:
    return await anext(chunks, None)


async def _close(chunks: AsyncGenerator[Any, None]) -> None:
    await chunks.aclose()


async def _in_time(run: Any, timeout: Any, model: str) -> Any:
    seconds = timeout if isinstance(timeout, (int, float)) and not isinstance(timeout, bool) else None
    try:
        with anyio.fail_after(seconds):
            return await run
    except TimeoutError as error:
        raise litellm.Timeout(
            f"{PROVIDER}/{model} was not done within {seconds:g} s", model=model, llm_provider=PROVIDER
        ) from error


def _prepared(model: str, messages: Sequence[Any], call: Mapping[str, Any]) -> tuple[_Registered, dict[str, Any]]:
    """The program and its inputs. Raises LiteLLM's errors for what cannot be called so."""
    found = _PROGRAMS.get(model)
    if found is None:
        error = UnknownName.among("program", model, _PROGRAMS, fix="register it: register(name, program)")
        raise litellm.NotFoundError(str(error), model=model, llm_provider=PROVIDER)
    given = call.get("optional_params") or {}
    asked = sorted(name for name, value in given.items() if name not in _HARMLESS and value is not None)
    dropping = litellm.drop_params or (call.get("litellm_params") or {}).get("drop_params")
    if asked and not dropping:
        raise litellm.UnsupportedParamsError(
            f"{PROVIDER}/{model} takes no {', '.join(asked)}: a program's own call sites say how they sample. "
            "Set them on the program, or pass drop_params=True",
            model=model, llm_provider=PROVIDER,
        )  # fmt: skip
    try:
        return found, _inputs(found.program, _question(messages))
    except InputError as error:
        raise _their_error(error, model) from error


def _question(messages: Sequence[Any]) -> str:
    """The text of the last user message."""
    content = next((m.get("content") for m in reversed(messages) if m.get("role") == "user"), None)
    if content is None:
        raise InputError("there is no user message", why="it is the program's input", fix="send one")
    if isinstance(content, str):
        return content
    for part in content:
        if part.get("type") != "text":
            raise InputError(
                f"a message holds a part of type {part.get('type')!r}", fix="send text: programs read nothing else"
            )
    return "".join(part["text"] for part in content)


def _inputs(program: Program, text: str) -> dict[str, Any]:
    names = program.input_names()
    if not names:
        raise InputError(f"{type(program).__name__} has no inputs", fix="give its plan one")
    needed = [p.name for p in inspect.signature(program.plan).parameters.values() if p.default is p.empty]
    several = len(names) > 1
    if several:
        try:
            found = json.loads(text)
        except ValueError:
            found = None
        if isinstance(found, dict) and names[0] in found and found.keys() <= set(names):
            return found
    if several and len(needed) > 1:
        raise InputError(
            f"{type(program).__name__} takes {len(names)} inputs, and the message is no JSON object of them",
            fix=f"send {json.dumps(dict.fromkeys(names, '...'))}",
        )
    return {names[0]: text}


def _answer(output: ProgramOutput) -> str:
    """The field `answer`, or else all there is beside the reasoning: one value as it is, several as a JSON object."""
    fields = output.toDict()
    if "answer" not in fields:
        fields = {name: value for name, value in fields.items() if name != "reasoning"} or fields
        if len(fields) > 1:
            return json.dumps(fields, ensure_ascii=False, default=str)
    value = fields["answer"] if "answer" in fields else next(iter(fields.values()), "")
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _response(output: ProgramOutput, model: str, response: ModelResponse) -> ModelResponse:
    message = Message(role="assistant", content=_answer(output))
    response.choices = [Choices(index=0, finish_reason=_finish(output), message=message)]
    response.model = f"{PROVIDER}/{model}"
    response.usage = _usage(output)
    response._hidden_params["reasonflow"] = _summary(output)
    return response


def _chunk(text: str, output: ProgramOutput | None = None) -> GenericStreamingChunk:
    """A piece of the answer; with the output, the end of the stream."""
    usage = None if output is None else _usage(output).model_dump()
    return GenericStreamingChunk(
        text=text,
        tool_use=None,
        is_finished=output is not None,
        finish_reason="" if output is None else _finish(output),
        usage=usage,
        index=0,
        provider_specific_fields=None if output is None else {"reasonflow": _summary(output)},
    )


def _finish(output: ProgramOutput) -> str:
    return "stop" if output.run.complete else "length"


def _usage(output: ProgramOutput) -> litellm.Usage:
    spent = output.run.usage
    return litellm.Usage(
        prompt_tokens=spent.input_tokens,
        completion_tokens=spent.output_tokens,
        total_tokens=spent.total_tokens,
        prompt_tokens_details=PromptTokensDetailsWrapper(cached_tokens=spent.cached_tokens),
    )


def _summary(output: ProgramOutput) -> dict[str, Any]:
    """How the run went, in JSON's types."""
    run = output.run
    return {
        "program": run.program,
        "calls": run.usage.calls,
        "cancelled_calls": run.usage.cancelled_calls,
        "sequential_tokens": run.sequential_tokens,
        "wall_s": run.wall_s,
        "complete": run.complete,
        "cut": run.cut,
        "squeezed": run.squeezed,
        "failures": list(run.failures),
        "fingerprint": dict(run.fingerprint),
    }


def _their_error(error: Exception, model: str) -> Exception:
    found: Exception
    about = {"model": model, "llm_provider": PROVIDER}
    if isinstance(error, PromptTooLong):
        found = litellm.ContextWindowExceededError(str(error), **about)
    elif isinstance(error, (InputError, ProgramError, BudgetExceeded)):
        found = litellm.BadRequestError(str(error), **about)
    elif isinstance(error, BackendError) and error.transient:
        found = litellm.ServiceUnavailableError(str(error), **about)
    else:
        found = litellm.APIError(500, str(error), **about)
    return found


_HANDLER = ReasonFlowLLM()
