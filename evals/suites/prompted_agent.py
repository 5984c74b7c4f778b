"""The agents of the suite `speculation-prompted`: the large model with a calculator, and the one that only reasons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dspy

import reasonflow as rf
from reasonflow.evals.suites.calculator import calculate
from reasonflow.evals.suites.prompted_small import SIGNATURE
from reasonflow.evals.suites.waits import Waits, slow

STEPS = 6
CALLS = 2 * (STEPS + 1)
"""Model calls of the agent with tools at most: DSPy asks a second time for what it cannot read."""
TOLD = """Solve the problem in steps. Call calculate once for each step, with numbers of the problem and of earlier
observations: next_tool_args is then like {"expression": "(3 + 4) * 2"}. Call finish with {} as soon as the result is
there. The answer is the result alone, without words or units."""
"""The agent with tools. Without an example small models give a tool its own schema for arguments."""
STEP_TOKENS, SOLUTION_TOKENS = 300, 512
TOOLS, REASONING = "tools", "reasoning"
AGENTS = (TOOLS, REASONING)


def agent_of(kind: str, large: dspy.LM, waits: Waits | None = None) -> dspy.Module:
    """What answers otherwise, greedy and on the large model. waits: of its tool calls; None: they take no time."""
    if kind == REASONING:
        agent: dspy.Module = rf.ChainOfThought(SIGNATURE, config={"temperature": 0.0, "max_tokens": SOLUTION_TOKENS})
    else:
        told = dspy.Signature(SIGNATURE, TOLD)
        agent = dspy.ReAct(told, [calculate if waits is None else slow(calculate, waits)], max_iters=STEPS)
    agent.set_lm(large)
    return agent


class Agent(rf.Program):
    """An agent as a program of its own, so that its runs are recorded as the planner's are."""

    def __init__(self, agent: dspy.Module) -> None:
        self.agent = agent

    def plan(self, problem: Any) -> Any:
        if isinstance(self.agent, rf.Program):
            return rf.answer(self.agent(problem=problem))
        return rf.answer(rf.call(self.agent, problem=problem, cap=CALLS))


def settings_of(kind: str, **more: Any) -> Mapping[str, Any]:
    """What an arm was made with, as its manifest knows it."""
    own = (
        {"steps": STEPS, "max_tokens": STEP_TOKENS, "told": TOLD} if kind == TOOLS else {"max_tokens": SOLUTION_TOKENS}
    )
    return {"agent": kind, **own, **more}
