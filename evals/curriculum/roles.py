"""The prompts of each role, out of the programs' own call sites and through the renderer that runs use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, Literal, TypeAlias

import dspy

import reasonflow as rf
from reasonflow.evals.curriculum.instructions import DEMANDS, PARAPHRASES, Role
from reasonflow.prompts.instructions import custom_instructions
from reasonflow.prompts.render import PromptTemplate
from reasonflow.prompts.styles import REASONING, Style, answer_field
from reasonflow.prompts.values import Demo

Form: TypeAlias = Literal["shared", "dspy", "fields"]
"""The two layouts of free-form prompts, and DSPy's own marked fields."""

MOST_GRADED = 4
"""A grader is asked for 1 to so many drafts."""
_STYLES: Mapping[Role, Style] = {"distill": "text", "grade": "text", "verdict": "verdict"}


@cache
def signature_of(role: Role, best: int = 2) -> Any:
    """The signature of the call site that plays this role. best: how many drafts a grader names."""
    pdr: Any = rf.PDR(widths=(2,), distiller="top_k", k=best) if role == "grade" else rf.PDR(widths=(2,))
    if role in ("distill", "grade"):
        return pdr.distill.signature
    if role == "refine":
        return pdr.refine.signature
    if role == "improve":
        return rf.SequentialRefine().refine.signature
    if role == "aggregate":
        return rf.RSA(n=2, k=2).aggregate.signature
    return rf.YesProbability().signature if role == "verdict" else pdr.draft.signature


def style_of(role: Role, form: Form = "shared") -> Style:
    """How the role's answer is written."""
    return "fields" if form == "fields" else _STYLES.get(role, "boxed")


@lru_cache(maxsize=4096)
def template(role: Role, wording: str | None, demand: str, form: Form, best: int = 2) -> PromptTemplate:
    """The prompt of a role without demos. wording: in place of the call site's own instruction; None: its own."""
    return _template(role, wording, demand, form, best, ())


def template_with(
    role: Role, wording: str | None, demand: str, form: Form, demos: Sequence[Demo], best: int = 2
) -> PromptTemplate:
    """The same with demos."""
    return _template(role, wording, demand, form, best, demos)


def _template(
    role: Role, wording: str | None, demand: str, form: Form, best: int, demos: Sequence[Demo]
) -> PromptTemplate:
    signature = _worded(role, wording, demand, best)
    if form == "fields":
        return PromptTemplate(_with_reasoning(signature), "fields", demos)
    return PromptTemplate(signature, style_of(role), demos, layout="dspy" if form == "dspy" else "shared")


@lru_cache(maxsize=4096)
def _worded(role: Role, wording: str | None, demand: str, best: int) -> Any:
    signature = signature_of(role, best)
    own = custom_instructions(signature) if wording is None else wording
    told = " ".join(part for part in (own, demand) if part)
    return signature.with_instructions(told) if told else signature


@lru_cache(maxsize=4096)
def _with_reasoning(signature: Any) -> Any:
    """As `dspy.ChainOfThought` extends it."""
    return signature.prepend(REASONING, dspy.OutputField(desc=f"${{{REASONING}}}"), type_=str)


def fields_answer(role: Role, solution: str, answer: str) -> str:
    """A solution as DSPy's adapter expects it back."""
    signature = _with_reasoning(_worded(role, None, "", 2))
    values = {REASONING: solution, answer_field(signature): answer}
    text: str = dspy.ChatAdapter().format_assistant_message_content(signature, values)
    return text


def every_prompt() -> Iterator[str]:
    """Each role's prompts in each form, with every paraphrase: the words a vocabulary needs."""
    values = {"problem": "P", "drafts": ["a", "b"], "workspace": "w", "solution": "s", "candidate": "c"}
    values["candidates"] = values["drafts"]
    for role in PARAPHRASES:
        forms: tuple[Form, ...] = ("shared", "dspy") if role in _STYLES else ("shared", "dspy", "fields")
        for form in forms:
            for wording in (None, *PARAPHRASES[role]):
                for demand in ("", *DEMANDS["short"]) if role == "solve" else ("",):
                    for turn in template(role, wording, demand, form).messages(values):
                        yield str(turn["content"])
