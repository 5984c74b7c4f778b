"""What the tests of tool agents share: two tools, and what models write to call them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import dspy

FINAL = "[[ ## reasoning ## ]]\nSo.\n\n[[ ## answer ## ]]\n{}\n\n[[ ## completed ## ]]"
LONG_S = 10.0
"""Whoever waits longer than that waits for ever."""


def step(name: str, **arguments: Any) -> str:
    """What a model writes to call a tool."""
    return (
        f"[[ ## next_thought ## ]]\nNext.\n\n[[ ## next_tool_name ## ]]\n{name}\n\n"
        f"[[ ## next_tool_args ## ]]\n{json.dumps(arguments)}\n\n[[ ## completed ## ]]"
    )


def guess(name: str, **arguments: Any) -> Callable[..., str]:
    """A small model that guesses this first, then the end."""
    return lambda prompt, seed, index: step("finish") if "observation_0" in prompt else step(name, **arguments)


def is_guessed() -> bool:
    """Whether a guess has started what runs here."""
    return threading.current_thread().name.endswith("guessed")


class Tools:
    """One tool without effects, one with."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.looked_up: list[tuple[str, bool]] = []
        """Each word, and whether the agent asked for it."""
        self.sent: list[bool] = []
        self.fails = 0

    def look_up(self, word: str, times: int = 1) -> str:
        """Looks up a word."""
        self.looked_up.append((word, not is_guessed()))
        self.begun.set()
        if len(self.looked_up) <= self.fails:
            raise OSError(f"no page of {word}")
        return f"{word} is found" * times

    def send(self, text: str) -> str:
        """Sends a letter."""
        self.sent.append(not is_guessed())
        return "sent"

    def agent(self, **more: Any) -> dspy.ReAct:
        return dspy.ReAct("problem -> answer", [self.look_up, self.send], max_iters=4, **more)
