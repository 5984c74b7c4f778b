"""Tools of an agent, held to a deadline and a length: one that hangs or gives megabytes costs its own call."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from contextvars import copy_context
from functools import wraps
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

import dspy

import reasonflow as rf

DEADLINE_S = 60.0
LONGEST = 10_000
"""Characters of an observation."""


class ToolTimeout(Exception):
    """A tool took too long. An agent reads it as an observation, as it does every exception of a tool."""


def bounded(
    tool: Callable[..., Any] | dspy.Tool, *, deadline_s: float = DEADLINE_S, longest: int = LONGEST
) -> dspy.Tool:
    """The tool with its name, description and arguments, whose calls end in time with a text that can be read.

    A call that is not there by the deadline raises ToolTimeout; its thread is left to end by itself, since no thread
    can be stopped. A longer result is cut in its middle. Functions may be async. The run record has a note of either.
    """
    given = tool if isinstance(tool, dspy.Tool) else dspy.Tool(tool)

    @wraps(given.func)
    def called(*args: Any, **arguments: Any) -> str:
        result = _within(deadline_s, given, args, arguments)
        text = result if isinstance(result, str) else str(result)
        if len(text) > longest:
            rf.note(f"tool {given.name}: {len(text)} characters cut to {longest}")
            half = longest // 2
            text = f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"
        return text

    return dspy.Tool(called, name=given.name, desc=given.desc, args=given.args, arg_types=given.arg_types)


def _within(seconds: float, tool: dspy.Tool, args: tuple[Any, ...], arguments: dict[str, Any]) -> Any:
    ended: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()

    def work() -> None:
        try:
            result = tool.func(*args, **arguments)
            ended.put((asyncio.run(_awaited(result)) if inspect.isawaitable(result) else result, None))
        except BaseException as error:  # it belongs to whoever waits
            ended.put((None, error))

    Thread(target=copy_context().run, args=(work,), name=f"tool {tool.name}", daemon=True).start()
    try:
        result, error = ended.get(timeout=seconds)
    except Empty:
        rf.note(f"tool {tool.name}: nothing within {seconds:g} s")
        raise ToolTimeout(f"{tool.name} gave nothing within {seconds:g} seconds") from None
    if error is not None:
        raise error
    return result


async def _awaited(result: Any) -> Any:
    return await result
