"""A program whose gate sees how many of its samples agree, on an engine that is a function."""

from __future__ import annotations

from typing import Any

import reasonflow as rf
from reasonflow.gates.scores import VoteShare
from reasonflow.runtime.values import Record


class Guarded(rf.Program):
    """Votes over n samples; where too few agree, a call that is always right answers."""

    def __init__(self, n: Any = 4, threshold: float | None = None) -> None:
        self.solve = rf.Generate("problem -> answer")
        self.sure = rf.Generate("problem, careful -> answer")
        self.n = n if isinstance(n, rf.Choice) else rf.Choice(n, options=[2, 4, 8])
        self.gate = rf.Gate(VoteShare(), threshold)

    def plan(self, problem: Any) -> Any:
        drafts = self.solve(problem=problem, n=self.n)
        found = rf.call(self.kept, drafts)
        voted = rf.vote(drafts, by="answer")
        return rf.answer(rf.when(found, lambda: voted, lambda: self.sure(problem=problem, careful="yes")))

    def kept(self, drafts: list[Record]) -> bool:
        """Whether enough of them agree."""
        return self.gate.decide([draft["answer"] if draft else None for draft in drafts]).accepted
