"""A scripted engine that plays a model with threads. Its words are a token each, so that tokens can be counted by hand.

The scripted tokenizer takes four letters at a time, with a space before them: `<Parallel>` is three tokens, the box of
an answer three, and a turn ends in one more.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import anyio
import dspy
from rich.console import Console

import reasonflow as rf
from reasonflow.errors import EngineDead
from reasonflow.evals.dataset import Problem
from reasonflow.evals.suites.findings import Findings
from reasonflow.evals.suites.suite import Setting, Suite


def words(count: int) -> str:
    return " ".join("a" * count)


def text_of(problem: Problem) -> str:
    return str(next(iter(problem.inputs.values())))


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """How one problem is solved."""

    sequential: int
    """Words in front of the box."""
    right: bool = True
    threads: tuple[int, ...] = ()
    """Words of each; empty for a model that plans none."""
    tail: int
    """Words behind the threads, in front of the box."""
    threaded_right: bool = True
    closed: bool = True
    """Whether the last thread is, and where it is not, neither is the thinking around the block: what is cut short
    gives no answer then."""

    def whole(self, answer: str) -> str:
        """The text with threads, in one go."""
        end = f"{words(self.tail)} \\boxed{{{answer if self.threaded_right else 'x'}}}"
        if not self.threads:
            return end
        outlines = "\n".join(f"<Outline>{number}: b</Outline>" for number, _ in enumerate(self.threads, 1))
        bodies = "<Thread>".join(f"\n{number}:{self.thread(number)}" for number, _ in enumerate(self.threads, 1))
        head = f"<Parallel>\n<Outlines>\n{outlines}\n</Outlines>"
        head = head if self.closed else f"<think>\n{head}"
        return f"{head}\n<Thread>{bodies}\n</Parallel>\n{end}"

    def thread(self, number: int) -> str:
        """What is written behind a thread's number."""
        last = number == len(self.threads)
        return f" {words(self.threads[number - 1])}{'' if last and not self.closed else '</Thread>'}"


class Weaver:
    """Solves the problems as they are played; counts what it is asked."""

    def __init__(self, problems: Sequence[Problem], plays: Sequence[Play]) -> None:
        self.played = [(text_of(p), p.answer, play) for p, play in zip(problems, plays, strict=True)]
        self.asked = 0
        self.dies_after: int | None = None
        self.fails = ""
        """A problem's text: threads fail on it."""

    def open(self, model: str) -> dspy.LM:
        return rf.scripted(self.answer, model=model, window=16_384)

    def answer(self, prompt: str, seed: int | None, index: int) -> Any:
        self.asked += 1
        if self.dies_after is not None and self.asked > self.dies_after:
            return EngineDead("it died")
        text, answer, play = next(played for played in self.played if played[0] in prompt)
        if "parallel threads" not in prompt and "Each thread" not in prompt:
            return f"{words(play.sequential)} \\boxed{{{answer if play.right else 'x'}}}"
        if text == self.fails:
            return ValueError("no threads today")
        begun = re.search(r"<Thread>\n(\d+):\Z", prompt)
        if begun:
            return play.thread(int(begun[1]))
        whole = play.whole(answer)
        return whole[whole.rindex("</Parallel>") :] if prompt.endswith("</Thread>\n") else whole


def setting_of(out: Path, weaver: Weaver, limit: int, **more: Any) -> Setting:
    return Setting(
        open=weaver.open, model="embedded", limit=limit, seed=1, out=out, console=Console(file=StringIO()), **more
    )


def made(suite: Suite, out: Path, weaver: Weaver, limit: int, **more: Any) -> Findings:
    return anyio.run(suite.make, setting_of(out, weaver, limit, **more))
