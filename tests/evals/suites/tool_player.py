"""A scripted engine that plays both models of the suite `speculation` on problems with tools."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from random import Random
from typing import Any

from reasonflow.evals.curriculum.tooling import Episode, episode, needs_tools
from reasonflow.evals.suites import planner_gate
from reasonflow.evals.suites.tool_agent import TASK
from reasonflow.evals.tasks.problems import Item, item, parse_source


def items(limit: int, judged: int) -> list[Item]:
    """The problems that a part of that limit asks about, those of the calibration among them."""
    asked = ((TASK, limit), (planner_gate.SOURCE, judged))
    return [item(parse_source(name), index) for name, count in asked for index in range(count)]


class Player:
    """A perfect agent and judge, and a small model that errs at times, is unsure then, and at times without cause."""

    def __init__(self, items: Iterable[Item], *, errs: float = 0.1, guesses: bool = True, judge: str = "") -> None:
        """errs: how often the small model does. guesses: whether it foresees calls. judge: what it says of all."""
        self.items: Mapping[str, Item] = {found.text: found for found in items}
        self.errs, self.guesses, self.judge = errs, guesses, judge

    def large(self, prompt: str, seed: int | None, index: int) -> Any:
        """The judge, the agent's steps, and its answer."""
        found = self._item(prompt)
        if "without any tool" in prompt:
            return self.judge or ("No" if needs_tools(found) else "Yes")
        return written(episode(found, Random(0)), prompt)

    def small(self, prompt: str, seed: int | None, index: int) -> Any:
        """The answer at once, or a guess of the agent's next step."""
        found = self._item(prompt)
        if "just the final answer" not in prompt:
            return written(episode(found, Random(0)), prompt) if self.guesses else "I do not know."
        random = Random(found.address)
        wrong = random.random() < self.errs
        sure = random.uniform(0.4, 0.7) if wrong else random.uniform(0.6, 1.0)
        return ({str(found.answer + wrong): sure, "x": (1 - sure) / 2},)

    def _item(self, prompt: str) -> Item:
        return next(found for text, found in self.items.items() if text in prompt)


def written(whole: Episode, prompt: str) -> str:
    """The agent's next step as DSPy reads it, or its answer behind the last one."""
    done = prompt.count("[[ ## observation_")
    if "[[ ## next_tool_name ## ]]" not in prompt:
        return (
            f"[[ ## reasoning ## ]]\n{whole.reasoning}\n\n[[ ## answer ## ]]\n{whole.answer}\n\n[[ ## completed ## ]]"
        )
    step = whole.steps[done]
    return (
        f"[[ ## next_thought ## ]]\n{step.thought}\n\n[[ ## next_tool_name ## ]]\n{step.tool}\n\n"
        f"[[ ## next_tool_args ## ]]\n{json.dumps(step.args)}\n\n[[ ## completed ## ]]"
    )
