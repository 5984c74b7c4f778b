"""A vote that says what its samples have answered, so that a gate can hold their agreement against a threshold."""

from __future__ import annotations

from typing import Any

import dspy

import reasonflow as rf
from reasonflow.language.signatures import read_signature
from reasonflow.programs.quick import quick
from reasonflow.prompts.canonical import canonical
from reasonflow.prompts.styles import answer_field
from reasonflow.runtime.values import Record

ANSWERS = "answers"


class VotedAnswers(rf.Program):
    """`n` samples of one prompt; the winner's fields, and `answers`, one a sample in the order drawn.

    Answers are spelled as a vote compares them, so that equal ones are equal; None for a sample without one.
    """

    def __init__(
        self,
        signature: str | type[dspy.Signature] = "problem -> answer",
        n: int = 8,
        *,
        config: dict[str, Any] | None = None,
    ) -> None:
        self.signature = read_signature(signature)
        self.by = answer_field(self.signature)
        self.solve = rf.Generate(self.signature, config=config)
        self.n = rf.Choice(n)

    def plan(self, **inputs: Any) -> Any:
        drafts = self.solve(**inputs, n=self.n)
        return rf.answer(rf.call(quick(self.joined), rf.vote(drafts, by=self.by), drafts))

    def joined(self, winner: Record, drafts: list[Any]) -> Record:
        """The winner, beside the answers of all samples."""
        answers = [canonical(str(draft[self.by])) if draft and draft[self.by] else None for draft in drafts]
        return Record({**winner.fields, ANSWERS: answers}, winner.full_text)
