"""A DSPy request that is read while it is generated, as lm15 events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from typing import Any

from dspy import lm15

from reasonflow.backends.protocol import Completion, Observer, Piece, Request, TokenLogprobs
from reasonflow.backends.tools import offered
from reasonflow.backends.translation import finish_reason, their_logprobs, usage
from reasonflow.errors import BackendError
from reasonflow.prompts.thinking import ThinkingStream


class LiveRequest:
    """One start event, deltas, one end event if the sample ends by itself.

    Its coroutines run on a runtime's loop; others may wait for them. One task lives from `open` to `close`; whoever
    opens it closes it, also when reading was interrupted.
    """

    def __init__(
        self,
        start: Any,
        prepare: Callable[[], tuple[Request, bool]],
        ask: Callable[[Request, Observer], Coroutine[Any, Any, Completion]],
    ) -> None:
        """start: the first event. prepare: the request, and whether its prompt ends inside a thought. ask: sends it."""
        self._prepare = prepare
        self._ask = ask
        self._task: asyncio.Task[Completion] | None = None
        self._events: list[Any] = [start]
        self._news = asyncio.Event()

    async def open(self) -> None:
        ours, opened = self._prepare()
        # Whether a text is a tool call shows at its end only.
        live = not offered(ours.prompt)
        deltas = _Deltas(opened=opened)

        def observe(seen: Piece | tuple[int, Completion]) -> None:
            if isinstance(seen, Piece):
                if live:
                    self._events.extend(deltas.feed(seen.text, seen.logprobs))
            elif seen[1].finish_reason != "cancelled":
                self._events.extend(deltas.end(seen[1]))
            self._news.set()

        self._task = asyncio.create_task(self._ask(replace(ours, stream=live), observe))
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


class _Deltas:
    """Pieces of text as deltas: thinking apart from the rest, log-probabilities with the text they belong to."""

    def __init__(self, *, opened: bool) -> None:
        self._split = ThinkingStream(opened=opened)
        self._shown = ""
        self._logprobs: list[TokenLogprobs] = []
        """Of text that is held back."""
        self._logprobs_told = 0

    def feed(self, text: str, logprobs: tuple[TokenLogprobs, ...] = ()) -> Iterator[Any]:
        self._shown += text
        self._logprobs += logprobs
        yield from self._made(self._split.feed(text))

    def end(self, completion: Completion) -> Iterator[Any]:
        """What is left of the text, the tool calls, the end."""
        yield from self.feed(_rest(completion.text, self._shown))
        self._logprobs = list(completion.logprobs[self._logprobs_told :])
        yield from self._made(self._split.rest())
        if self._logprobs:
            yield self._text("")
        for number, call in enumerate(completion.tool_calls, start=2):
            yield lm15.StreamDeltaEvent(
                lm15.ToolCallDelta(input=call.arguments, part_index=number, id=call.id, name=call.name)
            )
        yield lm15.StreamEndEvent(finish_reason=finish_reason(completion), usage=usage(completion))

    def _made(self, pieces: Iterator[tuple[bool, str]]) -> Iterator[Any]:
        for inside, text in pieces:
            yield lm15.StreamDeltaEvent(lm15.ThinkingDelta(text)) if inside else self._text(text)

    def _text(self, text: str) -> Any:
        told, self._logprobs = self._logprobs, []
        self._logprobs_told += len(told)
        return lm15.StreamDeltaEvent(lm15.TextDelta(text, part_index=1, logprobs=their_logprobs(told)))


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
