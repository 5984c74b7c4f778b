"""Speculative actions (arXiv 2510.04371): a small model guesses an agent's next tool call, which starts ahead of time.

When the agent's model is asked for a step, a small model is asked the same at the same time. If its tool is declared
free of effects, the call starts at once; where the agent's model then asks for the same call, its result is there, or
under way. Nothing else changes: the agent reads what it would have read, and no tool that has effects is ever called
because of a guess.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeAlias

import anyio
import dspy
from anyio.from_thread import BlockingPortal, start_blocking_portal

import reasonflow as rf
from reasonflow.errors import InputError, UnknownName
from reasonflow.programs.guessed_actions import (
    FINISH,
    TEMPERATURE,
    TOKENS,
    Ahead,
    Claiming,
    GuessedActions,
    Guesses,
    Watched,
)

Action: TypeAlias = str | dspy.Tool | Callable[..., Any]
"""A tool of an agent: its name, or what the agent was given."""


class ActionsAhead(dspy.ReAct):
    """A `dspy.ReAct` whose tool calls are guessed. Its predictors are those of the agent it is made of, by their names.

    What it gives has `guesses`, a `Guesses`, beside the agent's fields; in a run of ours the notes have it, too.

    agent: a `dspy.ReAct`, or of a class of its own.
    free: its tools without effects: calling one that nobody asked for changes nothing, costs little, and gives what it
        would give a moment later. They are called in threads of their own, beside each other and the agent's model.
    small: who guesses; None: the language model in use.
    guesses: a step. One is greedy; several are drawn at a temperature, and equal ones start one call.
    config: sampling settings of a guess; without them it has `TOKENS` tokens at most.
    clock: seconds, for the figures.

    A guess makes no step fail, and none wait: its errors are notes, and one that is not there when the agent calls a
    tool leaves the engine. A call it has started that raises is made anew by the agent, but for one at its deadline.
    Raises InputError for an agent that is no `dspy.ReAct`, and for tools that it does not have.
    """

    def __init__(
        self,
        agent: dspy.ReAct,
        free: Iterable[Action],
        *,
        small: dspy.LM | None = None,
        guesses: int = 1,
        config: dict[str, Any] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if not isinstance(agent, dspy.ReAct):
            raise InputError(
                f"actions of a {type(agent).__name__} cannot be guessed",
                why="a guess is read as the next step of a dspy.ReAct",
                fix="agent=dspy.ReAct(signature, tools)",
            )
        if isinstance(agent, ActionsAhead):
            raise InputError("the agent's actions are guessed already", fix="give the dspy.ReAct it was made of")
        if guesses < 1:
            raise InputError(f"{guesses} guesses a step", fix="guesses=1, or more")
        if "guesses" in agent.signature.output_fields:
            raise InputError(
                "an output field is called 'guesses'", why="that is where they are accounted for", fix="rename it"
            )
        self.__dict__.update({**vars(agent), "history": [], "callbacks": list(agent.callbacks)})
        self.kind = type(agent)
        settings = {"temperature": TEMPERATURE if guesses > 1 else 0.0, "max_tokens": TOKENS, **(config or {})}
        self.ahead = Ahead(free_tools(agent, free), small, guesses, settings, clock)

    @property
    def most_guesses(self) -> int:
        """Model calls that the guesses of one run make at most."""
        return int(self.ahead.guesses * self.max_iters)

    @property
    def with_effects(self) -> tuple[str, ...]:
        """Names of the tools that are not declared free of effects."""
        return tuple(name for name in self.tools if name != FINISH and name not in self.ahead.free)

    def forward(self, **inputs: Any) -> dspy.Prediction:
        """The agent's prediction, and its guesses."""
        guessed: GuessedActions | None = None
        try:
            with start_blocking_portal() as portal:
                guessed = self._guessed(inputs, partial(_in_portal, portal), awaits=False)
                found = self._agent(guessed)(**inputs)
                guessed.decide(None)
        finally:
            told = _noted(guessed)
        return _with(found, told)

    async def aforward(self, **inputs: Any) -> dspy.Prediction:
        """The agent's prediction, and its guesses. Async tools are awaited on this loop."""
        failed: Exception | None = None
        guessed: GuessedActions | None = None
        try:
            async with anyio.create_task_group() as group:

                def beside(work: Any) -> Callable[[], Any]:
                    scope = anyio.CancelScope()
                    group.start_soon(_within, scope, work)
                    return scope.cancel

                guessed = self._guessed(inputs, beside, awaits=True)
                try:
                    found = await self._agent(guessed).acall(**inputs)
                except Exception as error:  # raised below, as it is: here it would come out in a group
                    failed = error
                group.cancel_scope.cancel()
        finally:
            told = _noted(guessed)
        if failed is not None:
            raise failed
        return _with(found, told)

    def _guessed(self, inputs: dict[str, Any], spawn: Any, *, awaits: bool) -> GuessedActions:
        steps = min(self.max_iters, inputs.get("max_iters", self.max_iters))
        return GuessedActions(self, self.ahead, steps=steps, spawn=spawn, awaits=awaits)

    def _agent(self, guessed: GuessedActions) -> dspy.ReAct:
        """The agent of one run: what it shares with others is not changed, and what is changed is not shared."""
        agent = object.__new__(self.kind)
        own = {name: value for name, value in vars(self).items() if name not in ("kind", "ahead")}
        tools = {name: Claiming(tool, guessed) for name, tool in self.tools.items()}
        agent.__dict__.update({**own, "history": [], "callbacks": []})
        agent.react, agent.tools = Watched(self.react, guessed), tools
        return agent


def free_tools(agent: dspy.ReAct, free: Iterable[Action]) -> frozenset[str]:
    """Names of these tools of the agent. Raises InputError for one that it does not have."""
    if isinstance(free, str):
        raise InputError(f"actions are a list of tools, not {free!r}", fix=f"actions=[{free!r}]")
    tools = {name: tool for name, tool in agent.tools.items() if name != FINISH}
    found = set()
    for action in free:
        name = action if isinstance(action, str) else getattr(action, "name", None) or _name(action)
        if name not in tools:
            raise UnknownName.among("tool", str(name), tools, fix="name tools of the agent")
        given: Any = action.func if isinstance(action, dspy.Tool) else action
        if not isinstance(given, str) and not _is_in(given, tools[name].func):
            raise InputError(
                f"the agent's tool {name!r} is another function than the one declared free of effects",
                fix=f"declare the function that the agent has, or its name: {name!r}",
            )
        found.add(name)
    if not found:
        raise InputError("no tool is declared free of effects", fix="name those that are")
    return frozenset(found)


def _is_in(given: Any, function: Any) -> bool:
    """Whether a function is the other one, or what that wraps."""
    return bool(inspect.unwrap(function, stop=lambda each: each == given) == given)


def _name(action: Any) -> str:
    return str(getattr(action, "__name__", type(action).__name__))


def _in_portal(portal: BlockingPortal, work: Any) -> Callable[[], Any]:
    return portal.start_task_soon(work).cancel


async def _within(scope: anyio.CancelScope, work: Any) -> None:
    with scope:
        await work()


def _noted(guessed: GuessedActions | None) -> Guesses | None:
    """What came of the guesses, and says so in the run's notes."""
    if guessed is None:
        return None
    told = guessed.told()
    for text in (*guessed.failures, str(told)):
        rf.note(text, repair=False)
    return told


def _with(found: Any, told: Guesses | None) -> Any:
    found.guesses = told
    return found
