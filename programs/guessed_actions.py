"""The guesses of one run of a tool agent: what its small model is asked, which tools that starts, what is taken."""

from __future__ import annotations

import asyncio
import copy
import inspect
import json
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from contextvars import copy_context
from dataclasses import asdict, dataclass, field
from functools import partial
from threading import Lock, Thread
from typing import Any, TypeAlias

import dspy
from dspy.utils.usage_tracker import UsageTracker, track_usage

import reasonflow as rf
from reasonflow.programs.bounded_tools import ToolTimeout
from reasonflow.runtime.ambient import ambient, surrounded
from reasonflow.runtime.aside import Aside
from reasonflow.runtime.notes import NOTES

FINISH = "finish"
"""What `dspy.ReAct` calls the tool that ends it."""
TEMPERATURE = 0.7
"""Of a guess where a step has several; a single one is greedy."""
TOKENS = 512
"""Of a guess at most: a longer one is hardly ahead, and under a budget they are held back while it runs."""
Spawn: TypeAlias = Callable[[Callable[[], Awaitable[None]]], Callable[[], Any]]
"""Starts something beside the agent. Gives what takes it back, which may be called at any time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guesses:
    """What came of the guesses of one run of an agent."""

    asked: int = 0
    """Of the small model: a step has up to as many as there are guesses a step."""
    started: int = 0
    """Tool calls that guesses have started."""
    hits: int = 0
    """Of those: the agent asked for the very same call in that step, and read what it gave."""
    calls: int = 0
    """Tool calls of the agent, those that hit included; its "finish" is none."""
    seconds_saved: float = 0.0
    """Summed over the hits: how long the call had run when the agent asked for it. Less what the agent has waited for
    calls that failed, and were made anew."""
    waste_tokens: int = 0
    """Output tokens of the guesses that did not hit, as far as they were written."""
    tool_seconds_wasted: float = 0.0
    """Of calls that did not hit: until they ended, or else until the agent did."""
    effects: int = 0
    """Started calls of tools that are not declared free of effects. There is none."""

    @property
    def discarded(self) -> int:
        """Started calls whose result nobody read."""
        return self.started - self.hits

    @property
    def hit_rate(self) -> float:
        """Share of the agent's tool calls that a guess had started; 0 where it made none."""
        return self.hits / self.calls if self.calls else 0.0

    def to_json(self) -> dict[str, float]:
        """Every figure by its name."""
        return {**asdict(self), "discarded": self.discarded, "hit_rate": self.hit_rate}

    def __str__(self) -> str:
        return (
            f"guesses: {self.hits} of {self.calls} tool calls hit, {self.seconds_saved:.2f} s saved; "
            f"{self.asked} asked, {self.started} started, {self.discarded} discarded; "
            f"wasted {self.waste_tokens} tokens and {self.tool_seconds_wasted:.2f} s of tools"
        )


@dataclass(frozen=True, slots=True)
class Ahead:
    """How an agent guesses."""

    free: frozenset[str]
    """Names of the tools that are declared free of effects."""
    small: dspy.LM | None
    """Who guesses; None: the language model in use."""
    guesses: int
    """A step."""
    config: Mapping[str, Any]
    """Sampling settings of a guess, over those of the agent's predictor."""
    clock: Callable[[], float]
    """Seconds."""


@dataclass(slots=True, eq=False)
class Guess:
    """One completion of the small model."""

    place: tuple[int, int]
    """Its step, and its number there."""
    aside: Aside | None = None
    usage: UsageTracker | None = None
    hit: bool = False

    @property
    def tokens(self) -> int:
        """Output tokens, as far as the engine tells."""
        if self.aside is not None and self.aside.written:
            return self.aside.written
        spent = self.usage.get_total_tokens().values() if self.usage is not None else ()
        return sum(int(of_model.get("completion_tokens") or 0) for of_model in spent)


@dataclass(slots=True, eq=False)
class Started:
    """A tool call that a guess has started."""

    tool: str
    arguments: dict[str, Any]
    guess: Guess
    begun_s: float
    ended_s: float | None = None
    result: Any = None
    error: BaseException | None = None
    notes: list[tuple[str, bool]] = field(default_factory=list)
    """What the call has said with `rf.note`: of the run only where its result is."""
    hit: bool = False
    done: Future[None] = field(default_factory=Future)

    def __post_init__(self) -> None:
        self.done.set_running_or_notify_cancel()  # who waits for it and is cancelled does not cancel the call

    def end(self, at_s: float, result: Any = None, error: BaseException | None = None) -> None:
        """The call is over."""
        self.result, self.error, self.ended_s = result, error, at_s
        self.done.set_result(None)


@dataclass(slots=True, eq=False)
class Step:
    """One step of the agent."""

    started: dict[str, Started] = field(default_factory=dict)
    """By `call_key`."""
    stops: list[tuple[Guess, Callable[[], Any]]] = field(default_factory=list)
    decided: bool = False
    """The agent's own call is known: what comes later starts nothing."""


class GuessedActions:
    """The guesses of one run. The agent's thread, those of tools, and the guesses' loop share it."""

    def __init__(self, agent: dspy.ReAct, ahead: Ahead, *, steps: int, spawn: Spawn, awaits: bool) -> None:
        """steps: that are guessed at most. awaits: async tools are awaited where the guesses run, as the agent does."""
        self.ahead, self.steps, self.spawn, self.awaits = ahead, steps, spawn, awaits
        self.react, self.tools = agent.react, dict(agent.tools)
        self.begun = 0
        self.step: Step | None = None
        self.guesses: list[Guess] = []
        self.started: list[Started] = []
        self.failures: dict[str, None] = {}
        """What guesses have failed at, each text once."""
        self.calls = 0
        self.saved_s = 0.0
        self._lock = Lock()

    # Guessing ---------------------------------------------------------------------------------------------------------

    def begin(self, inputs: dict[str, Any]) -> None:
        """A step begins: the agent's model is asked with these inputs next."""
        self.decide(None)  # a prompt that was too long is asked again, shorter
        if self.begun >= self.steps:
            return
        step = self.step = Step()
        for index in range(self.ahead.guesses):
            guess = Guess((self.begun, index))
            self.guesses.append(guess)
            step.stops.append((guess, self.spawn(partial(self._guess, step, guess, dict(inputs)))))
        self.begun += 1

    async def _guess(self, step: Step, guess: Guess, inputs: dict[str, Any]) -> None:
        try:
            said = await self._ask(guess, inputs)
            call = self._start(step, guess, said.next_tool_name, said.next_tool_args)
            if call is not None:
                await self._run(call)
        except Exception as error:  # a guess fails by itself: the agent goes on, and the run's notes say so
            self.failures[f"a guess failed: {type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"] = None

    async def _ask(self, guess: Guess, inputs: dict[str, Any]) -> Any:
        """The agent's own prompt, to the small model: one call, of which no trace, stream or path hears."""
        function = ambient().inside
        guess.aside = None if function is None else Aside(_function(function), guess.place)
        lm = self.ahead.small or dspy.settings.lm
        config = {**self.ahead.config, **({"rollout_id": guess.place[1] + 1} if self.ahead.guesses > 1 else {})}
        quiet = dspy.context(trace=None, send_stream=None, stream_listeners=[], adapter=_asking_once())
        with quiet, surrounded(inside=guess.aside), track_usage() as guess.usage:
            return await self.react.acall(**inputs, lm=lm, config=config)

    def _start(self, step: Step, guess: Guess, name: Any, arguments: Any) -> Started | None:
        """The call to make ahead of time; None for what is no call of a free tool, was started before, or is late."""
        if name not in self.ahead.free or name not in self.tools:
            return None
        key = call_key(name, arguments)
        if key is None or not fits(self.tools[name], arguments):
            return None
        with self._lock:
            if step.decided or key in step.started:
                return None
            call = Started(name, json.loads(key)[1], guess, self.ahead.clock())
            step.started[key] = call
            self.started.append(call)
        return call

    async def _run(self, call: Started) -> None:
        tool = self.tools[call.tool]
        if self.awaits and is_async(tool):
            NOTES.set(_noted(call))  # this task's own context
            try:
                call.end(result=await tool.acall(**call.arguments), at_s=self.ahead.clock())
            except BaseException as error:
                call.end(error=error, at_s=self.ahead.clock())
                if not isinstance(error, Exception):
                    raise
            return
        context = copy_context()
        context.run(NOTES.set, _noted(call))
        name = f"tool {call.tool}, guessed"
        Thread(target=context.run, args=(self._work, call, tool), name=name, daemon=True).start()

    def _work(self, call: Started, tool: dspy.Tool) -> None:
        try:
            result = tool(**call.arguments)
        except BaseException as error:  # it belongs to whoever waits
            call.end(error=error, at_s=self.ahead.clock())
        else:
            call.end(result=result, at_s=self.ahead.clock())

    # Taking -----------------------------------------------------------------------------------------------------------

    def claim(self, name: str, arguments: dict[str, Any]) -> Started | None:
        """The agent calls a tool: the same call, if a guess has started it. The step's other guesses are discarded."""
        self.calls += name != FINISH
        return self.decide(call_key(name, arguments))

    def decide(self, key: str | None) -> Started | None:
        """End the step's guessing. Gives the started call of this key."""
        step, self.step = self.step, None
        if step is None:
            return None
        with self._lock:
            step.decided = True
            found = step.started.get(key) if key is not None else None
        for guess, stop in step.stops:
            if found is None or guess is not found.guess:
                stop()
        return found

    def taken(self, call: Started, since_s: float) -> bool:
        """Whether the ended call is the agent's, which has waited since then. Raises what it raised at its deadline.

        One that failed otherwise is not: the agent makes it anew, so that its errors are its own.
        """
        assert call.ended_s is not None, "it has ended"
        if call.error is not None and not isinstance(call.error, ToolTimeout):
            self.saved_s -= max(0.0, call.ended_s - since_s)
            return False
        self.saved_s += min(call.ended_s, since_s) - call.begun_s
        call.hit = call.guess.hit = True
        for text, repair in call.notes:
            rf.note(text, repair=repair)
        if call.error is not None:
            raise call.error
        return True

    def told(self) -> Guesses:
        """What came of them, now that the agent has ended."""
        now = self.ahead.clock()
        lost = [call for call in self.started if not call.hit]
        return Guesses(
            asked=len(self.guesses),
            started=len(self.started),
            hits=len(self.started) - len(lost),
            calls=self.calls,
            seconds_saved=self.saved_s,
            waste_tokens=sum(guess.tokens for guess in self.guesses if not guess.hit),
            tool_seconds_wasted=sum((now if c.ended_s is None else c.ended_s) - c.begun_s for c in lost),
            effects=sum(call.tool not in self.ahead.free for call in self.started),
        )


class Watched:
    """The agent's predictor of next steps: when it is asked, the small model is, too."""

    def __init__(self, predictor: dspy.Predict, guessed: GuessedActions) -> None:
        self._predictor, self._guessed = predictor, guessed

    def __call__(self, **inputs: Any) -> Any:
        self._guessed.begin(inputs)
        return self._predictor(**inputs)

    async def acall(self, **inputs: Any) -> Any:
        """The same, awaited."""
        self._guessed.begin(inputs)
        return await self._predictor.acall(**inputs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._predictor, name)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self  # its agent travels in DSPy's settings, which are copied


class Claiming:
    """A tool whose call may have been started by a guess."""

    def __init__(self, tool: dspy.Tool, guessed: GuessedActions) -> None:
        self._tool, self._guessed = tool, guessed

    def __call__(self, **arguments: Any) -> Any:
        call = self._guessed.claim(self._tool.name, arguments)
        if call is not None:
            since_s = self._guessed.ahead.clock()
            call.done.result()
            if self._guessed.taken(call, since_s):
                return call.result
        return self._tool(**arguments)

    async def acall(self, **arguments: Any) -> Any:
        """The same, awaited."""
        call = self._guessed.claim(self._tool.name, arguments)
        if call is not None:
            since_s = self._guessed.ahead.clock()
            await asyncio.wrap_future(call.done)
            if self._guessed.taken(call, since_s):
                return call.result
        return await self._tool.acall(**arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tool, name)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self  # its agent travels in DSPy's settings, which are copied


def call_key(name: Any, arguments: Any) -> str | None:
    """Equal for equal calls: normalised JSON. None for what has no JSON form."""
    try:
        return json.dumps([name, arguments], sort_keys=True, allow_nan=False) if isinstance(arguments, dict) else None
    except (TypeError, ValueError, RecursionError):
        return None


def fits(tool: dspy.Tool, arguments: dict[str, Any]) -> bool:
    """Whether the tool would take these arguments, by its schema and its signature."""
    try:
        inspect.signature(tool.func).bind(**tool._validate_and_parse_args(**arguments))
    except Exception:  # whatever its validation raises
        return False
    return True


def is_async(tool: dspy.Tool) -> bool:
    """Whether calling it gives something to await."""
    return inspect.iscoroutinefunction(tool.func) or inspect.iscoroutinefunction(getattr(tool.func, "__call__", None))  # noqa: B004


def _asking_once() -> dspy.Adapter:
    """The adapter in use, without a second call where it cannot read the first."""
    adapter = dspy.settings.adapter or dspy.ChatAdapter()
    if getattr(adapter, "use_json_adapter_fallback", False):
        adapter = copy.copy(adapter)
        adapter.use_json_adapter_fallback = False
    return adapter


def _noted(call: Started) -> Callable[[str, bool], None]:
    return lambda text, repair: call.notes.append((text, repair))


def _function(found: Any) -> Any:
    """The function of the run, also where a guess is made inside a guess."""
    return found.function if isinstance(found, Aside) else found
