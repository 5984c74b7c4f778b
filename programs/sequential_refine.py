"""Sequential refinement (arXiv:2510.01123, the width-1 case): a solution improved round after round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import dspy

import reasonflow as rf
from reasonflow.language.choices import opened
from reasonflow.language.signatures import read_signature
from reasonflow.programs.knobs import TEMPERATURES, Layout, Temperature
from reasonflow.programs.refinement import about, extended, unused

_ROUNDS = (1, 2, 3, 4, 6)

_REFINE = (
    "The solution is an earlier attempt and may be wrong. Check it step by step, correct what is wrong or confirm "
    "what is right, and write the full solution."
)
_ANALYSE = "The solution is an attempt at the problem. List its flaws, briefly. Do not write a new solution."


class SequentialRefine(rf.Program):
    """One draft, then `rounds` refinements, each reading the problem and the solution before it and nothing else.

    rounds: or an `rf.Choice` or `rf.Range` of them, for `rf.compile`.
    analyse: between rounds another call lists the flaws of the solution, and the refinement reads them too: two calls a
        round. The paper found it to help some models and not others.
    analysis_tokens: length of the list of flaws at most.
    solution_tokens: how much of a solution is read, thinking never.
    temperature, layout: of all calls that have none in their `config`; or an `rf.Choice` or `rf.Range`: see
        `rf.Program`.
    """

    search_space: ClassVar[Mapping[str, Sequence[Any]]] = MappingProxyType(
        {"rounds": _ROUNDS, "temperature": TEMPERATURES}
    )

    def __init__(
        self,
        signature: str | type[dspy.Signature] = "problem -> answer",
        rounds: int | rf.Choice = 3,
        *,
        analyse: bool = False,
        analysis_tokens: int = 512,
        solution_tokens: int = 2048,
        temperature: Temperature = None,
        layout: Layout = "auto",
        config: dict[str, Any] | None = None,
    ) -> None:
        task = read_signature(signature)
        self.solution, self.flaws = unused("solution", task), unused("flaws", task)
        solution = {self.solution: (str, "")}
        reads = {**solution, self.flaws: (str, "")} if analyse else solution
        self.signature = task
        self.draft = rf.Generate(task, config=config, solution_tokens=solution_tokens)
        if analyse:
            flaws = about(task, _ANALYSE, solution, (self.flaws, ""))
            self.analyse = rf.Generate(flaws, style="text", config={**(config or {}), "max_tokens": analysis_tokens})
        self.refine = rf.Generate(extended(task, _REFINE, reads), config=config, solution_tokens=solution_tokens)
        self.rounds = opened(rounds, _ROUNDS)
        self.temperature, self.layout = temperature, layout
        self.analysing = analyse

    def plan(self, **inputs: Any) -> Any:
        def improve(solution: Any) -> Any:
            seen = {self.solution: solution.solution}
            if self.analysing:
                seen[self.flaws] = self.analyse(**inputs, **seen).text
            return rf.answer(self.refine(**inputs, **seen))

        return rf.loop(improve, rf.answer(self.draft(**inputs)), max_rounds=self.rounds)
