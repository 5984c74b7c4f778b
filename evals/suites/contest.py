"""Threads against one sequence: what is compared, on what, and under which names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import reasonflow as rf
from reasonflow.evals.dataset import Problem
from reasonflow.evals.judging import Judge
from reasonflow.evals.suites.arms import Way, exact, way
from reasonflow.evals.suites.findings import Goal

SEQUENTIAL, THREADED, AUTOREGRESSIVE = "sequential", "threaded", "autoregressive"
SAMPLING: Mapping[str, Any] = {"temperature": 0.6, "top_p": 0.95}
"""The published evaluation's (ThreadWeaver, arXiv 2512.07843, released script)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """ChainOfThought and ThreadWeaver on the same problems, with the same seeds, on one engine."""

    task: str
    problems: Sequence[Problem]
    max_tokens: int
    """Of a call, in every arm. No solution should reach it: one that does is cut, and wrong as a rule."""
    prompted: bool = False
    """Whether a prompt tells the model what threads are, because it is not trained to write them."""
    judge: Judge = exact
    goals: tuple[Goal, ...] = ()
    gpu_goals: tuple[Goal, ...] = ()
    """Of seconds: how a CPU shares itself among threads says nothing about another engine."""

    @property
    def arms(self) -> tuple[str, ...]:
        """The baseline first. Tags as ordinary text are only of interest where a model is trained on them."""
        return (SEQUENTIAL, THREADED) if self.prompted else (SEQUENTIAL, THREADED, AUTOREGRESSIVE)

    def named(self, figure: str) -> str:
        """The figure's name: what a prompt has done, and what training has, must not be mixed up."""
        return f"prompted_{figure}" if self.prompted else figure

    def way(self, arm: str) -> Way:
        """The program of that arm."""
        signature = f"{', '.join(self.problems[0].inputs)} -> answer"
        config = {**SAMPLING, "max_tokens": self.max_tokens}
        if arm == SEQUENTIAL:
            return way(rf.ChainOfThought, signature=signature, config=config)
        mode = "parallel" if arm == THREADED else "autoregressive"
        return way(rf.ThreadWeaver, signature=signature, mode=mode, prompted=self.prompted, config=config)
