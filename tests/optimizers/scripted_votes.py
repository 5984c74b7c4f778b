"""A program whose accuracy depends on its width, on an engine that is a function."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Any

import dspy

import reasonflow as rf


class Vote(rf.Program):
    """Votes over n samples."""

    def __init__(self, n: Any = 4) -> None:
        self.solve = rf.Generate("problem -> answer")
        self.n = n if isinstance(n, rf.Choice) else rf.Choice(n, options=[1, 2, 4, 8, 16])

    def plan(self, problem: Any) -> Any:
        return rf.answer(rf.vote(self.solve(problem=problem, n=self.n), by="answer"))


def right_by(share: float, asked: list[str] | None = None) -> Callable[[str, int, int], str]:
    """Every sample is right with this chance, and else one of five wrong ones: a wider vote is a better one."""

    def answer(prompt: str, seed: int, index: int) -> str:
        number = re.findall(r"What is (\d+)", prompt)[-1]
        found = int(hashlib.sha256(f"{number}.{seed}".encode()).hexdigest(), 16)
        if asked is not None:
            asked.append(f"{number}.{seed}")
        return rf"it is \boxed{{{number if found % 1000 < 1000 * share else found % 5}}}"

    return answer


def examples(count: int) -> list[dspy.Example]:
    return [
        dspy.Example(problem=f"What is {number}?", answer=str(number)).with_inputs("problem")
        for number in range(100, 100 + count)
    ]
