"""Parallel-Distill-Refine (arXiv:2510.01123): drafts in parallel, a bounded workspace, refinements that read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Literal, TypeAlias, get_args

import dspy

import reasonflow as rf
from reasonflow.errors import InputError
from reasonflow.language.choices import Choice, opened, resolve
from reasonflow.language.signatures import read_signature
from reasonflow.language.site_defaults import options_of
from reasonflow.programs.knobs import TEMPERATURES, Layout, Temperature, check_known, check_whole
from reasonflow.programs.picks import best_in_order, best_numbers, drawn
from reasonflow.programs.refinement import about, extended, unused

_WIDTHS = ((16, 8, 4), (16, 8), (16,), (8, 4, 2), (8, 4), (8,), (4, 2), (4,), (2,))
"""What `rf.compile` may choose among."""
Distiller: TypeAlias = Literal["summary", "top_k", "per_sample", "random_k"]

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

    widths: drafts per round, the last single refinement not counted; or an `rf.Choice` of such, for `rf.compile`.
    distiller: "summary" writes notes shared by the next round; "top_k" grades the drafts and passes the best `k` on
        verbatim; "per_sample" grades them anew for every draft of the next round, which gets a pick of its own: as many
        gradings as drafts, 8 + 4 + 1 for these widths; "random_k" draws `k` for every draft, without a call. The first
        two give a round one prompt. The paper found "summary" and "per_sample" best, "random_k" worst.
    workspace_tokens: length of the notes at most.
    solution_tokens: how much of a draft the distiller sees, thinking never (the paper's solution buffer: 2,048).
    seed: of the draws of "random_k". Equal seeds draw equal places; what stands in them is up to the run's own seed.
    temperature, layout: of all calls that have none in their `config` or at their site: see `rf.Program`.
    An `rf.Choice` in place of distiller, workspace_tokens, temperature or layout is a knob for `rf.compile`. Where
    "summary" and a grading distiller are both to choose, the grading site is `grade`, else `distill`.
    """

    search_space: ClassVar[Mapping[str, Sequence[Any]]] = MappingProxyType(
        {
            "widths": _WIDTHS,
            "distiller": get_args(Distiller),
            "temperature": TEMPERATURES,
        }
    )

    def __init__(
        self,
        signature: str | type[dspy.Signature] = "problem -> answer",
        widths: tuple[int, ...] | rf.Choice = (16, 8, 4),
        *,
        distiller: Distiller | rf.Choice = "summary",
        k: int = 2,
        workspace_tokens: int | rf.Choice = 1024,
        solution_tokens: int = 2048,
        seed: int = 0,
        temperature: Temperature = None,
        layout: Layout = "auto",
        config: dict[str, Any] | None = None,
    ) -> None:
        if not isinstance(resolve(widths), (tuple, list)) or not len(widths):
            raise InputError("PDR needs at least one round of drafts", fix="widths=(8,) is one round of eight drafts")
        if k < 1:
            raise InputError(f"k={k} passes no draft on", fix="let at least one be passed on: k=1")
        check_known("distiller", distiller, get_args(Distiller))
        check_whole("workspace_tokens", workspace_tokens, "leaves no room for notes")
        kinds = options_of(distiller)
        task = read_signature(signature)
        if isinstance(workspace_tokens, Choice) and "config" in task.fields:
            raise InputError("workspace_tokens is to choose, and a field is called 'config'", fix="rename the field")
        self.drafts, self.workspace = unused("drafts", task), unused("workspace", task)
        drafts = {self.drafts: (list[str], "")}
        self.signature = task
        self.by = list(task.output_fields)[-1]
        self.draft = rf.Generate(task, config=config, solution_tokens=solution_tokens)
        if "summary" in kinds:
            notes = about(task, _SUMMARISE, drafts, (self.workspace, ""))
            bound = resolve(workspace_tokens)
            self.distill = rf.Generate(notes, style="text", config={**(config or {}), "max_tokens": bound})
        if "top_k" in kinds or "per_sample" in kinds:
            verdict = about(task, _GRADE.format(k=k), drafts, (unused("best", task), ""))
            grade = rf.Generate(verdict, style="text", config={**(config or {}), "max_tokens": 16 * k})
            setattr(self, "grade" if "summary" in kinds else "distill", grade)
        reads = {self.workspace: (str, "")}
        self.refine = rf.Generate(extended(task, _REFINE, reads), config=config, solution_tokens=solution_tokens)
        self.widths = opened(widths, _WIDTHS)
        self.distiller, self.workspace_tokens = distiller, workspace_tokens
        self.temperature, self.layout = temperature, layout
        self.k = k
        self.seed = seed

    def plan(self, **inputs: Any) -> Any:
        drafts = self.draft(**inputs, n=self.widths[0], min_branches=1)
        rf.answer(rf.vote(drafts, by=self.by))
        for number, width in enumerate(self.widths[1:], start=1):
            drafts = self._refined(inputs, drafts, number, width)
            rf.answer(rf.vote(drafts, by=self.by))
        return rf.answer(self._refined(inputs, drafts, len(self.widths), None))

    def _refined(self, inputs: dict[str, Any], drafts: Any, number: int, width: int | None) -> Any:
        """What a round makes of the drafts before it: a list, without a width a single one."""

        def on_its_own(branch: Any) -> Any:
            return self.refine(**inputs, **{self.workspace: self._own(inputs, drafts, number, branch)})

        if resolve(self.distiller) in ("summary", "top_k"):
            return self.refine(**inputs, **{self.workspace: self._shared(inputs, drafts)}, n=width)
        return on_its_own(0) if width is None else rf.fork(width, on_its_own, min_branches=1)

    def _shared(self, inputs: dict[str, Any], drafts: Any) -> Any:
        """The workspace of a whole round."""
        if self.distiller == "summary":
            return self.distill(**inputs, **{self.drafts: drafts}, **self._bounded()).text
        distilled = self._graded(inputs, drafts)
        return rf.select(drafts, indices=rf.call(best_numbers, distilled.text, drafts), k=self.k)

    def _own(self, inputs: dict[str, Any], drafts: Any, number: int, branch: Any) -> Any:
        """The workspace of one draft."""
        if self.distiller == "random_k":
            picked = rf.call(drawn, drafts, self.k, self.seed, number, branch)
        else:
            graded = self._graded(inputs, drafts)
            picked = rf.call(best_in_order, graded.text, drafts, self.k)
        return rf.select(drafts, indices=picked, k=self.k)

    def _graded(self, inputs: dict[str, Any], drafts: Any) -> Any:
        """The numbers of the best drafts."""
        site = self.grade if hasattr(self, "grade") else self.distill
        return site(**inputs, **{self.drafts: drafts})

    def _bounded(self) -> dict[str, Any]:
        """The length of the notes, where it is a knob."""
        bound = self.workspace_tokens
        return {"config": {"max_tokens": int(bound)}} if isinstance(bound, Choice) else {}
