"""Parallel-Distill-Refine (arXiv:2510.01123): drafts in parallel, a bounded workspace, refinements that read it."""

from __future__ import annotations

import re
from typing import Any, Literal

import dspy

import reasonflow as rf
from reasonflow.errors import InputError
from reasonflow.language.signatures import read_signature
from reasonflow.programs.refinement import about, extended

Distiller = Literal["summary", "top_k"]

_REFINE = (
    "The workspace was taken from earlier attempts and may be wrong. Use what is sound in it, check it, and write a "
    "complete, improved solution of your own."
)
_SUMMARISE = (
    "The drafts are independent attempts at the problem. Write notes for the next attempt: where the drafts agree, "
    "where they contradict each other and which side is right, results that are established, and what is still open. "
    "Be brief and do not solve the problem anew."
)
_GRADE = (
    "The drafts are independent attempts at the problem. Judge how sound each one is, and name the best {k} by "
    "their numbers, best first. Write the numbers only, separated by commas."
)


class PDR(rf.Program):
    """Rounds of parallel drafts; between rounds a distiller writes a bounded workspace that the next round reads.

    The workspace is made anew each round: what no draft of a round kept is gone. Widths (16, 8, 4) make 16 + 8 + 4
    drafts and one last refinement, 29 calls, and 3 distillations. Cut short by a budget it gives the majority answer of
    the last whole round.

    widths: drafts per round, the last single refinement not counted.
    distiller: "summary" writes notes shared by the next round; "top_k" grades the drafts and passes the best `k` on
        verbatim.
    workspace_tokens: length of the notes at most.
    solution_tokens: how much of a draft the distiller sees, thinking never (the paper's solution buffer: 2,048).
    """

    def __init__(
        self,
        signature: str | type[dspy.Signature] = "problem -> answer",
        widths: tuple[int, ...] = (16, 8, 4),
        *,
        distiller: Distiller = "summary",
        k: int = 2,
        workspace_tokens: int = 1024,
        solution_tokens: int = 2048,
        config: dict[str, Any] | None = None,
    ) -> None:
        if not isinstance(widths, (tuple, list)) or not widths:
            raise InputError("PDR needs at least one round of drafts", fix="widths=(8,) is one round of eight drafts")
        if k < 1:
            raise InputError(f"k={k} passes no draft on", fix="let the grader name at least one: k=1")
        if distiller not in ("summary", "top_k"):
            raise InputError(f"unknown distiller {distiller!r}", fix='use "summary" or "top_k"')
        task = read_signature(signature)
        drafts = {"drafts": (list[str], "")}
        workspace = {"workspace": (str, "")}
        self.signature = task
        self.by = list(task.output_fields)[-1]
        self.draft = rf.Generate(task, config=config, solution_tokens=solution_tokens)
        if distiller == "summary":
            notes = about(task, _SUMMARISE, drafts, ("workspace", ""))
            self.distill = rf.Generate(notes, style="text", config={**(config or {}), "max_tokens": workspace_tokens})
        else:
            verdict = about(task, _GRADE.format(k=k), drafts, ("best", ""))
            self.distill = rf.Generate(verdict, style="text", config={**(config or {}), "max_tokens": 16 * k})
        self.refine = rf.Generate(extended(task, _REFINE, workspace), config=config, solution_tokens=solution_tokens)
        self.widths = rf.Choice(widths)
        self.distiller = distiller
        self.k = k

    def plan(self, **inputs: Any) -> Any:
        drafts = self.draft(**inputs, n=self.widths[0])
        rf.answer(rf.vote(drafts, by=self.by))
        for width in self.widths[1:]:
            drafts = self.refine(**inputs, workspace=self._workspace(inputs, drafts), n=width)
            rf.answer(rf.vote(drafts, by=self.by))
        return rf.answer(self.refine(**inputs, workspace=self._workspace(inputs, drafts)))

    def _workspace(self, inputs: dict[str, Any], drafts: Any) -> Any:
        distilled = self.distill(**inputs, drafts=drafts)
        if self.distiller == "summary":
            return distilled.text
        best = rf.call(best_numbers, distilled.text, drafts)
        return rf.select(drafts, indices=best, k=self.k)


def best_numbers(verdict: str, drafts: list[Any]) -> list[int]:
    """The drafts a grader named, counted from 0, then the others in order, so that some can always be selected."""
    named = [int(number) - 1 for number in re.findall(r"\d+", verdict)]
    usable = [index for index in dict.fromkeys(named) if 0 <= index < len(drafts) and drafts[index]]
    if not usable:
        rf.note(f"the grader named no draft ({verdict[:40]!r}): took the first ones")
    return usable + [index for index, draft in enumerate(drafts) if draft and index not in usable]
