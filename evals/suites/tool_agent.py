"""The agent of the suite `speculation`: a `dspy.ReAct` over the family's tools, and what is kept of its runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dspy

import reasonflow as rf
from reasonflow.evals.benchmarks import load
from reasonflow.evals.dataset import Problem
from reasonflow.evals.suites.suite import Setting
from reasonflow.evals.tasks.tools import TOOLS
from reasonflow.programs.speculative_actions import ActionsAhead
from reasonflow.runtime.engines import model_behind

TASK = "graphmath:tools"
SIGNATURE = "problem -> answer"
STEPS = 12
"""Of the agent: no problem of the mix takes so many."""
CALLS = 2 * (STEPS + 1)
"""Its model calls at most: DSPy asks a second time for what it cannot read."""
GREEDY: Mapping[str, Any] = {"temperature": 0.0, "max_tokens": 256}
"""Of every call of both models. No step of a perfect agent has half as many tokens."""


def problems(setting: Setting) -> list[Problem]:
    """Those that are tested, which no training has seen."""
    return load(TASK, limit=setting.limit)


def agent_of(tools: Sequence[Callable[..., Any]], large: dspy.LM) -> dspy.ReAct:
    """The agent on the large model."""
    agent = dspy.ReAct(SIGNATURE, list(tools), max_iters=STEPS)
    agent.set_lm(large)
    return agent


class Agent(rf.Program):
    """An agent as a program of its own, so that its runs are recorded as the planner's are."""

    def __init__(self, agent: dspy.ReAct) -> None:
        self.agent = agent
        self.calls = CALLS + (agent.most_guesses if isinstance(agent, ActionsAhead) else 0)

    def plan(self, problem: Any) -> Any:
        return rf.answer(rf.call(self.agent, problem=problem, cap=self.calls))


def open_both(setting: Setting) -> tuple[dspy.LM, dspy.LM]:
    """The small and the large language model, greedy."""
    small, large = setting.open(setting.small), setting.open(setting.model)
    return small.copy(**GREEDY), large.copy(**GREEDY)


def settings_of(small: dspy.LM | None = None, **more: Any) -> dict[str, Any]:
    """What an arm was made with, as its manifest knows it. small: beside the model that is measured."""
    beside = {} if small is None else {"small": model_behind(small) or small.model}
    return {"tools": [tool.__name__ for tool in TOOLS], "steps": STEPS, **GREEDY, **beside, **more}
