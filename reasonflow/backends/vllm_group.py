"""The samples of one request inside a vLLM engine, collected on the loop that asked for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from reasonflow.backends.protocol import Completion, Observer, Piece, TokenLogprobs
from reasonflow.backends.vllm_engine_thread import Update
from reasonflow.errors import BackendError, ReasonFlowError


class SampleGroup:
    """What the engine has told of a request's samples; `result` is done when it has told all, or why it cannot."""

    def __init__(
        self,
        ids: Sequence[str],
        prompt_tokens: int,
        observe: Observer | None,
        *,
        stream: bool,
        reading: Callable[[Completion], Completion] | None = None,
    ) -> None:
        """reading: what becomes of every whole sample, where its text means more than itself."""
        loop = asyncio.get_running_loop()
        self.result: asyncio.Future[tuple[Completion, ...]] = loop.create_future()
        self.left: asyncio.Future[None] = loop.create_future()
        """Done when cancelled samples have left the engine and the observer knows."""
        self.prompt_logprobs: tuple[float, ...] = ()
        self._places = {id: place for place, id in enumerate(ids)}
        self._prompt_tokens = prompt_tokens
        self._observe = observe
        self._stream = stream and observe is not None
        self._texts: list[list[str]] = [[] for _ in ids]
        self._tokens: list[list[int]] = [[] for _ in ids]
        self._logprobs: list[list[TokenLogprobs]] = [[] for _ in ids]
        self._reading = reading
        self._done: dict[int, Completion] = {}

    @property
    def unfinished(self) -> list[str]:
        """Ids of the samples still in the engine, as far as is known here."""
        return [id for id, place in self._places.items() if place not in self._done]

    def take(self, news: Sequence[Update] | ReasonFlowError) -> None:
        """A step's updates, or the error that ended the request."""
        if self.result.done():  # it failed or was cancelled; what ends meanwhile is told all the same
            self._told(news)
            return
        try:
            if isinstance(news, ReasonFlowError):
                raise news
            self._take(news)
        except Exception as error:  # an observer's own error is the caller's to see
            if not self.result.done():
                self.result.set_exception(error)
            return
        # An observer may have cancelled the request at the end of its last sample.
        if len(self._done) == len(self._places) and not self.result.done():
            self.result.set_result(tuple(self._done[place] for place in range(len(self._places))))

    def leave(self, news: Sequence[Update]) -> None:
        """How far the samples came that a cancelled request has taken out of the engine: the last to be heard."""
        self._told(news)
        if not self.left.done():
            self.left.set_result(None)

    def _told(self, news: Sequence[Update] | ReasonFlowError) -> None:
        if isinstance(news, ReasonFlowError) or not self.result.cancelled() or self.left.done():
            return
        try:
            self._take(news)
        except Exception as error:
            self.left.set_exception(error)

    def _take(self, updates: Sequence[Update]) -> None:
        for update in updates:
            place = self._places[update.id]
            if update.error:
                failed = BackendError("the engine gave up on a sample", why=update.error, fix="ask again")
                failed.transient = True
                raise failed
            text, tokens = self._gained(place, update)
            self._texts[place].append(text)
            self._tokens[place].extend(tokens)
            self._logprobs[place].extend(update.logprobs)
            if self._stream and self._observe is not None and (text or tokens):
                self._observe(Piece(index=place, text=text, tokens=tokens, logprobs=update.logprobs))
            if update.finished:
                self._finish(place, update)

    def _gained(self, place: int, update: Update) -> tuple[str, tuple[int, ...]]:
        """Text and tokens since the last update. Of a cancelled sample the engine tells all there is."""
        if not update.whole:
            return update.text, update.tokens
        known = sum(map(len, self._texts[place]))
        return update.text[known:], update.tokens[len(self._tokens[place]) :]

    def _finish(self, place: int, update: Update) -> None:
        self.prompt_logprobs = update.prompt_logprobs
        completion = Completion(
            text="".join(self._texts[place]),
            tokens=tuple(self._tokens[place]),
            output_tokens=len(self._tokens[place]),
            prompt_tokens=self._prompt_tokens if update.prompt_computed else 0,
            cached_tokens=update.cached_tokens,
            finish_reason=update.finish_reason,
            stopped=update.stopped,
            queued_s=update.queued_s,
            first_token_s=update.first_token_s,
            total_s=update.total_s,
            logprobs=tuple(self._logprobs[place]) if len(self._logprobs[place]) == len(self._tokens[place]) else (),
        )
        if self._reading is not None and completion.finish_reason != "cancelled":
            completion = self._reading(completion)
        self._done[place] = completion
        if self._observe is not None:
            self._observe((place, completion))
