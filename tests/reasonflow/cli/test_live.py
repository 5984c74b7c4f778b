"""The live line of a run, from its events."""

from __future__ import annotations

import dspy

import reasonflow as rf
from reasonflow.cli.live import LiveLine
from reasonflow.runtime.ambient import surrounded


def test_it_counts_what_runs_ends_and_is_cancelled() -> None:
    class Agreed(rf.Program):
        def __init__(self) -> None:
            self.solve = rf.Generate("problem -> answer")

        def plan(self, problem: object) -> object:
            return rf.quorum(self.solve(problem=problem, n=4), by="answer", need=2)

    lm = rf.scripted("\\boxed{1}", latency=lambda request, index: 0.02 + 0.2 * (index > 1))
    line = LiveLine()
    with line, dspy.context(lm=lm), surrounded(watch=line):
        run = Agreed()(problem="p").run
    assert line.text().startswith(f"0 branches running, 2 ended, 2 cancelled, {run.usage.output_tokens:,} tokens")
