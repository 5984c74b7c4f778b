"""What the runtime asks of an inference engine.

An engine is asked by one runtime, on that runtime's event loop. It starts lazily, at the first request. Every failure
leaves as a `reasonflow.errors.BackendError`; cancellation passes through untouched and frees the engine's slots.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

Tokens: TypeAlias = tuple[int, ...]
Message: TypeAlias = Mapping[str, Any]
"""One chat message as OpenAI's API spells it: `role`, `content`."""
FinishReason: TypeAlias = Literal["stop", "length", "cancelled", "gated"]
"""The last is the runtime's own: a gate took the sample out of the engine while it was written. No engine says it."""


class TokenLogprobs(NamedTuple):
    """One generated token among the likeliest ones at its place. Logarithms are natural."""

    token: str
    """Its text, as it stands in the completion's: a space in front is part of it."""
    logprob: float
    top: tuple[tuple[str, float], ...] = ()
    """(token, logprob), likeliest first: as many as were asked for, or as the engine gives."""


class ToolCall(NamedTuple):
    """A tool the model asks for."""

    id: str
    name: str
    arguments: str
    """JSON text as the model wrote it: not checked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How to sample. None means what the engine's own server would choose (the model's generation config first)."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    max_tokens: int | None = None
    """Generated tokens at most; None: whatever the window leaves after the prompt."""
    min_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    """Sibling i of a request samples with `seed + i`, as vLLM's own children do. None: not reproducible."""
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    ignore_eos: bool = False
    logprobs: int | None = None
    """Report each generated token with so many of the likeliest at its place; 0: the token alone; None: nothing."""
    json_schema: str | None = None
    """JSON text of a schema that the text must follow."""
    keep_special: bool = False
    """Leave control tokens in the text, as who reads structure out of it wants; the one that ends the turn never is."""

    def with_seed(self, seed: int) -> Sampling:
        """The same with this seed. By the constructor: `replace` took three times as long, for each branch."""
        return Sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            min_p=self.min_p,
            max_tokens=self.max_tokens,
            min_tokens=self.min_tokens,
            stop=self.stop,
            seed=seed,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            repetition_penalty=self.repetition_penalty,
            ignore_eos=self.ignore_eos,
            logprobs=self.logprobs,
            json_schema=self.json_schema,
            keep_special=self.keep_special,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One rendered prompt."""

    messages: tuple[Message, ...] = ()
    tokens: Tokens | None = None
    """The messages through the model's chat template. Present for engines whose capabilities say `token_prompts`."""
    tools: tuple[Mapping[str, Any], ...] = ()
    """Functions the model may ask for, as OpenAI's API spells them."""
    tool_choice: str | None = None
    """"auto", "none", "required", or the name of the one function to be called; None: the engine's own default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One prompt and how many samples to draw from it."""

    prompt: Prompt
    sampling: Sampling = Sampling()
    n: int = 1
    priority: int = 0
    """Orders the engine's waiting queue where it can: lower first."""
    label: str = ""
    """Path of the call in its program, for logs."""
    stream: bool = False
    """The observer wants the pieces as they are generated, not only the ends of samples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One sample as the engine produced it."""

    text: str
    tokens: Tokens = ()
    """Generated ids, the end-of-turn id included where the engine reports it. Empty where it reports none."""
    output_tokens: int
    prompt_tokens: int
    cached_tokens: int | None = None
    """Prompt tokens reused from the engine's prefix cache; None where the engine does not say."""
    finish_reason: FinishReason = "stop"
    stopped: str | None = None
    """Which of the request's stop strings ended it, where one did and the engine says so. `text` ends before it,
    `tokens` behind it."""
    queued_s: float = 0.0
    """Seconds between arrival and the first scheduling."""
    first_token_s: float | None = None
    """Seconds between arrival and the first generated token."""
    total_s: float = 0.0
    """Seconds between arrival and the last generated token."""
    logprobs: tuple[TokenLogprobs, ...] = ()
    """One per generated token; empty unless the request asks for them."""
    tool_calls: tuple[ToolCall, ...] = ()
    planned_tokens: int | None = None
    """Of its prompt, the tokens that the runtime foresaw in the prefix cache; engines leave it alone. None where it
    foresees nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What one sample gained since the last piece."""

    index: int
    """Which of the request's samples."""
    text: str
    tokens: Tokens = ()
    logprobs: tuple[TokenLogprobs, ...] = ()
    """Of these tokens, where the request asks for them."""


Observer: TypeAlias = Callable[[Piece | tuple[int, Completion]], None]
"""Told on the runtime's loop: pieces as they are generated where the request streams, and (index, completion) as each
sample ends. A sample that ends because the call was cancelled is told too, with what it had generated and the finish
reason "cancelled"; one that ends because the engine failed is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What an engine can do, stated rather than probed."""

    token_prompts: bool = False
    cached_counts: bool = False
    abort: bool = False
    """Whether cancelling a call takes its samples out of the engine."""
    partial_counts: bool = True
    """Whether it tells how far a cancelled sample had come. Where not, such a sample's counts are 0, and a budget takes
    it for all it was allowed to write."""
    priority: bool = False
    seeds: bool = False
    ignore_eos: bool = True
    """Whether a sample can be made to write on to its cap."""
    top_logprobs: int = 0
    """Likeliest tokens it reports at most at each place; 0: it reports no log-probabilities."""
    streamed_logprobs: bool = False
    """Whether the pieces of a streamed sample hold the log-probabilities of their tokens."""
    prompt_logprobs: bool = False
    """Whether `score` works."""
    json_schema: bool = False
    tools: bool = False
    """Whether a model may be offered tools and call them of its own accord. An engine that lacks this and follows JSON
    schemas can still be made to call one."""
    images: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """The engine's own totals since it started, over requests that finished (cancelled ones within one step)."""

    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    running: int
    waiting: int
    steps: int = 0
    """Steps the engine has made; 0 where it does not say."""


@runtime_checkable
class Tokenizer(Protocol):
    """The model's tokenizer with its chat template. Cheap to have without the engine."""

    @property
    def special_tokens(self) -> tuple[str, ...]:
        """Texts it maps to control ids: inside a user's text they must be broken apart before rendering."""
        ...

    @property
    def system_turns(self) -> bool:
        """Whether its template has a turn for the system. Where not, that text opens the first user turn."""
        ...

    def render(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> Tokens:
        """The chat as token ids, ready for the assistant's turn. tools: as in `Prompt`."""
        ...

    def encode(self, text: str) -> Tokens: ...

    def decode(self, tokens: Sequence[int]) -> str: ...


class Backend(Protocol):
    """One inference engine."""

    @property
    def model(self) -> str:
        """The name users know the model by."""
        ...

    @property
    def capabilities(self) -> Capabilities: ...

    @property
    def tokenizer(self) -> Tokenizer | None:
        """Available before the engine starts; None where the engine does not take token prompts."""
        ...

    @property
    def window(self) -> int | None:
        """Tokens of prompt and output together at most; None where unknown. Available before the engine starts."""
        ...

    @property
    def block_size(self) -> int | None:
        """Tokens in one block of the prefix cache; None where there is none. Available before the engine starts."""
        ...

    @property
    def kv_tokens(self) -> int | None:
        """Tokens its KV cache holds, of running samples and of what they left in the prefix cache together; None where
        unknown. Certain once the engine has started."""
        ...

    @property
    def max_running(self) -> int:
        """Samples the engine decodes at once at most: the scheduler admits no more."""
        ...

    @property
    def default_max_tokens(self) -> int | None:
        """Generated tokens of a sample at most where its request does not say; None: what the window leaves. Certain
        once the engine has started."""
        ...

    def fingerprint(self) -> Mapping[str, str]:
        """Engine, versions, model and its hash, device: what a reader needs to repeat a measurement."""
        ...

    async def start(self) -> None:
        """Make the engine ready. Idempotent; also done by the first request. Raises EngineStartError."""
        ...

    async def generate(self, request: Request, observe: Observer | None = None) -> tuple[Completion, ...]:
        """All `request.n` samples, in order. Samples of one request arrive adjacent at the engine.

        Cancelling the call aborts those still running: they have left the engine, and the observer knows how far each
        had come, when the cancellation leaves (within one step). Raises PromptTooLong before anything is sent,
        EngineDead, BackendError; samples that had not ended by then are aborted and not told.
        """
        ...

    async def score(self, prompt: Tokens, continuation: Tokens) -> tuple[float, ...]:
        """Log-probability of each token of `continuation` after `prompt`: (len(continuation),), natural log."""
        ...

    async def counters(self) -> Counters:
        """The engine's own totals; zeros before it started."""
        ...

    async def aclose(self) -> None:
        """Stop the engine and free what it holds. Idempotent."""
        ...


@runtime_checkable
class Forgetting(Protocol):
    """A backend whose prefix cache can be emptied: what a measurement begins with that must not profit from others."""

    async def forget_prefixes(self) -> None:
        """Reuse nothing of what was computed until now. Raises BackendError while samples are in the engine."""
        ...
