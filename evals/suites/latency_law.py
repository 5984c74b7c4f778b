"""The law of a speculative planner's latency (SpecEyes, arXiv 2603.23483), held against what was measured.

E[L] = c_judge + beta c_small + (1 - beta alpha) L_agent: every task pays the judge, the share beta that is judged free
of tools pays the small model, and all but the share alpha of those pay the agent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from reasonflow.evals.suites.arms import mean


class Timed(NamedTuple):
    """One problem, solved in both ways."""

    agent_s: float
    """Of the agent alone."""
    judge_s: float | None
    """Of the judge's call; None where it failed."""
    small_s: float | None
    """Of the small model's call; None where the judge asked for the agent."""
    accepted: bool


class Law(NamedTuple):
    """The terms of the law, means in seconds, and what it says. None: there was nothing to take it from."""

    beta: float | None
    alpha: float | None
    judge_s: float | None
    small_s: float | None
    agent_s: float | None
    fallen_s: float | None
    """Of the agent alone, on the problems that fell through to it."""

    @property
    def latency(self) -> float | None:
        """Seconds of a task, with an agent that takes as long for any task."""
        return self._with(self.agent_s)

    @property
    def latency_of_fallen(self) -> float | None:
        """The same with what the agent takes for those tasks that fall through: they may be the long ones."""
        return self._with(self.fallen_s if self.passed < 1 else 0.0)

    @property
    def passed(self) -> float:
        """Share of all tasks that the small model answers."""
        return (self.beta or 0.0) * (self.alpha or 0.0)

    def _with(self, agent_s: float | None) -> float | None:
        if self.beta is None or self.judge_s is None or agent_s is None:
            return None
        return self.judge_s + self.beta * (self.small_s or 0.0) + (1 - self.passed) * agent_s


def law_of(runs: Sequence[Timed]) -> Law:
    """The terms as these runs have them."""
    free = [run for run in runs if run.small_s is not None]
    return Law(
        beta=mean([float(run.small_s is not None) for run in runs]),
        alpha=mean([float(run.accepted) for run in free]),
        judge_s=mean([run.judge_s for run in runs if run.judge_s is not None]),
        small_s=mean([run.small_s for run in free if run.small_s is not None]),
        agent_s=mean([run.agent_s for run in runs]),
        fallen_s=mean([run.agent_s for run in runs if not run.accepted]),
    )
