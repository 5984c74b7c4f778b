"""The samples of one streamed answer, put together from its events.

Which counts they report. A chunk may hold its token ids, its log-probabilities, or (asked of vLLM and SGLang) the
counts of its sample so far: then every sample is counted exactly. Of any other server only the sum is known, when all
is over: a sample that ends before counts its chunks, one token at the least in each, and the one that ends last gets
the rest of the sum. So the counts of all add up to the server's; and the last sample alone may be counted for others.
The prompt is what the server counted, or for those that ended before it said so, its token ids or a guess.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from reasonflow.backends.openai_errors import broke_off, malformed, of_stream
from reasonflow.backends.openai_wire import (
    MALFORMED,
    NOTHING_SAID,
    Usage,
    finish_reason,
    logprobs_of,
    prompt_size,
    reasoning_of,
    stopped_by,
    text_of,
    token_ids,
    usage_of,
)
from reasonflow.backends.protocol import Completion, FinishReason, Observer, Piece, Request, TokenLogprobs, ToolCall
from reasonflow.errors import ReasonFlowError
from reasonflow.prompts.thinking import THINK


@dataclass(slots=True)
class _Sample:
    texts: list[str] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprobs] = field(default_factory=list)
    calls: dict[int, list[str]] = field(default_factory=dict)
    """By place: id, name, arguments."""
    chunks: int = 0
    """That held something generated."""
    said: Usage = NOTHING_SAID
    """What the server has counted of this sample alone."""
    thinking: bool = False
    """Its last piece was a thought."""
    finish: FinishReason | None = None
    stopped: str | None = None
    first_token_s: float | None = None
    done: Completion | None = None

    @property
    def counted(self) -> int | None:
        """Its tokens, where they are exactly known."""
        if self.tokens:
            return len(self.tokens)
        return self.said.output_tokens if self.said.output_tokens is not None else len(self.logprobs) or None


class StreamedSamples:
    """All samples of a request. Each end is told when it comes, that of the last one with the server's totals."""

    def __init__(self, request: Request, observe: Observer | None, *, counts_each: bool, base_url: str) -> None:
        """counts_each: the server was asked for the counts of a chunk's own sample beside each chunk."""
        self._request = request
        self._observe = observe
        self._pieces = observe if request.stream else None
        self._counts_each = counts_each or request.n == 1
        self._base_url = base_url
        self._samples = [_Sample() for _ in range(request.n)]
        self._usage = NOTHING_SAID
        self._arrived_s = time.perf_counter()

    def take(self, data: bytes) -> None:
        """One event. Raises a transient BackendError for what is none, and what the server says has failed."""
        if data == b"[DONE]":
            return
        try:
            event = orjson.loads(data)
            if error := event.get("error"):
                raise of_stream(error, self._base_url)
            choices, usage = event.get("choices") or (), event.get("usage")
            if usage is not None and (not choices or self._request.n == 1):
                self._usage = usage_of(usage)
            read = [self._read(choice, usage) for choice in choices]
        except ReasonFlowError:
            raise
        except MALFORMED as failure:
            raise malformed(f"{type(failure).__name__}: {failure}") from failure
        for index, piece in read:
            self._tell(index, piece)

    def finish(self) -> tuple[Completion, ...]:
        """All completions, once the stream is over. Raises a transient BackendError where it ended too early."""
        missing = sum(sample.finish is None for sample in self._samples)
        if missing:
            raise broke_off(f"the stream ended, and {missing} of {len(self._samples)} samples had not")
        for index, sample in enumerate(self._samples):
            if sample.done is None:
                self._end(index, last=True)
        return tuple(sample.done for sample in self._samples if sample.done is not None)

    def cancelled(self) -> tuple[Completion, ...]:
        """Tell the end of every sample that had none yet; all completions."""
        for index, sample in enumerate(self._samples):
            if sample.done is None:
                sample.finish = sample.finish or "cancelled"
                self._end(index)
        return tuple(sample.done for sample in self._samples if sample.done is not None)

    def _read(self, choice: Mapping[str, Any], usage: Any) -> tuple[int, Piece]:
        index = choice["index"]
        if type(index) is not int or not 0 <= index < len(self._samples):
            raise ValueError(f"there is no sample {index!r:.40}")
        sample = self._samples[index]
        if sample.finish is not None:
            raise ValueError(f"sample {index} goes on after its end")
        delta = choice.get("delta")
        text = text_of(choice.get("text")) if delta is None else _text(sample, delta)
        tokens = token_ids(choice.get("token_ids"))
        logprobs = logprobs_of(choice.get("logprobs"), self._request.sampling.logprobs)
        if text or tokens or (delta and delta.get("tool_calls")):
            sample.chunks += 1
            if sample.first_token_s is None:
                sample.first_token_s = time.perf_counter() - self._arrived_s
        sample.texts.append(text)
        sample.tokens.extend(tokens)
        sample.logprobs.extend(logprobs)
        if usage is not None and self._counts_each:
            sample.said = usage_of(usage)
        if (reason := choice.get("finish_reason")) is not None:
            sample.finish, sample.stopped = finish_reason(reason), stopped_by(choice)
        return index, Piece(index=index, text=text, tokens=tokens, logprobs=logprobs)

    def _tell(self, index: int, piece: Piece) -> None:
        if self._pieces is not None and (piece.text or piece.tokens or piece.logprobs):
            self._pieces(piece)
        sample = self._samples[index]
        if sample.finish is not None and sample.done is None and any(each.finish is None for each in self._samples):
            self._end(index)

    def _end(self, index: int, *, last: bool = False) -> None:
        sample = self._samples[index]
        assert sample.finish is not None, "a sample ends once"
        prompt = sample.said.prompt_tokens if sample.said.prompt_tokens is not None else self._usage.prompt_tokens
        size = prompt if prompt is not None else prompt_size(self._request.prompt)
        count = self._rest(sample) if last else sample.counted
        count = sample.chunks if count is None else count
        if sample.finish == "cancelled" and not count:
            size = 0
        text = "".join(sample.texts)
        sample.done = done = Completion(
            text=text,
            tokens=tuple(sample.tokens),
            output_tokens=count,
            prompt_tokens=size,
            cached_tokens=self._usage.cached_tokens,
            finish_reason=sample.finish,
            stopped=sample.stopped,
            first_token_s=sample.first_token_s,
            total_s=time.perf_counter() - self._arrived_s,
            logprobs=tuple(sample.logprobs),
            tool_calls=tuple(ToolCall(*sample.calls[place]) for place in sorted(sample.calls)),
        )
        if self._observe is not None:
            self._observe((index, done))

    def _rest(self, sample: _Sample) -> int | None:
        """What the server's sum leaves for the last sample, if it is not counted by itself."""
        total, own = self._usage.output_tokens, sample.counted
        if total is None or (own is not None and len(self._samples) > 1):
            return own
        told = sum(each.done.output_tokens for each in self._samples if each.done is not None)
        return max(total - told, sample.chunks)


def _text(sample: _Sample, delta: Mapping[str, Any]) -> str:
    """What a chat's delta adds to the text, with tags around its thinking, and to the tool calls."""
    for call in delta.get("tool_calls") or ():
        known = sample.calls.setdefault(call["index"], ["", "", ""])
        function = call.get("function") or {}
        known[0] = known[0] or text_of(call.get("id"))
        known[1] += text_of(function.get("name"))
        known[2] += text_of(function.get("arguments"))
    text = ""
    if thought := reasoning_of(delta):
        text = thought if sample.thinking else THINK.open + thought
        sample.thinking = True
    if content := text_of(delta.get("content")):
        text += THINK.close + content if sample.thinking else content
        sample.thinking = False
    return text
