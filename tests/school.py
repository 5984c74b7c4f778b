"""A pupil that needs a lesson or an example in its prompt, and a teacher that writes the lesson: both scripted."""

from __future__ import annotations

import json
import re
from typing import Any

import dspy

import reasonflow as rf

LESSON = "Carry the tens."


class Pupil:
    """Adds small numbers; larger ones only with an example or the lesson in its prompt."""

    def __init__(self, **options: Any) -> None:
        self.prompts: list[str] = []
        self.lm = rf.scripted(self.answer, max_tokens=40, **options)

    def answer(self, prompt: str, seed: int | None, index: int) -> str:
        self.prompts.append(prompt)
        asked = re.findall(r"(\d+) \+ (\d+)\?", prompt)
        one, other = map(int, asked[-1])
        taught = len(set(asked)) > 1 or LESSON in prompt
        total = one + other if taught or one + other < 10 else one + other - 10
        return f"Adding {one} to {other}.\n\\boxed{{{total}}}"


class Teacher:
    """Fills every field it is asked for with the lesson; the first `mute` times with something useless."""

    def __init__(self, mute: int = 0) -> None:
        self.prompts: list[str] = []
        self._mute = mute
        self.lm = rf.scripted(self.answer, model="teacher")

    def answer(self, prompt: str, seed: int | None, index: int) -> str:
        self.prompts.append(prompt)
        said = LESSON if len(self.prompts) > self._mute else f"Try harder, {len(self.prompts)} times."
        request = prompt[prompt.rfind("Respond with") :]
        if "JSON" in request:
            return json.dumps(dict.fromkeys(re.findall(r"`(\w+)`", request), said))
        names = dict.fromkeys(re.findall(r"\[\[ ## (\w+) ## \]\]", request))
        sites = ("solve", "draft", "distill", "refine", "outline")
        advice = json.dumps(dict.fromkeys(sites, said))
        return "\n\n".join(f"[[ ## {name} ## ]]\n{advice if 'advice' in name else said}" for name in names)


def sums(*pairs: tuple[int, int]) -> list[dspy.Example]:
    """Additions as examples."""
    return [dspy.Example(problem=f"{a} + {b}?", answer=str(a + b)).with_inputs("problem") for a, b in pairs]


def exact(example: dspy.Example, out: Any, trace: Any = None) -> float:
    """Whether the answers are equal, as a number."""
    return float(example.answer == out.answer)


TRAIN = sums((1, 2), (2, 2), (5, 7), (8, 6))
VAL = sums((3, 4), (4, 4), (9, 9), (7, 6), (8, 8), (1, 5))
"""Half of each can be added by nature."""
