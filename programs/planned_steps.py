"""The steps of PlannedSearch between model calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import reasonflow as rf
from reasonflow.programs.pages import look, plain
from reasonflow.programs.retrieval.bounded import Bounded, Found
from reasonflow.programs.search_steps import Step, filled, given_steps, read_steps
from reasonflow.runtime.values import Hole, Record

UNKNOWN = "unknown"


class Answered(NamedTuple):
    """A sub-question, and what came of it."""

    question: str
    """With the answers it needed in it."""
    outcome: str
    """found, nothing, timed out or failed."""
    passages: tuple[str, ...]
    """Ids of what was found, best first."""
    titles: tuple[str, ...]
    answer: str
    level: int
    """Calls one behind the other until it was answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planner:
    """What the steps of one program have in common."""

    retriever: Bounded
    passages: int

    def given(self, rows: Any) -> list[Step]:
        """Steps that somebody else has made. Raises InputError for what is none."""
        return given_steps(rows)

    def planned(self, text: str, question: Any) -> list[Step]:
        """The steps of a plan; the question itself where there are none."""
        steps, faults = read_steps(text)
        for fault in faults:
            rf.note(fault)
        if not steps:
            rf.note("the plan has no numbered line: the question itself is searched")
            return [Step(str(question))]
        return steps

    def needs(self, step: Step) -> tuple[int, ...]:
        """Places of the steps that it waits for."""
        return step.needs

    def query(self, step: Step, found: Sequence[Any]) -> str:
        """The sub-question as it is searched."""
        answers = {}
        for place, each in zip(step.needs, found, strict=True):
            if isinstance(each, Hole):
                rf.note(f"step {place + 1} failed: what needs it is searched without its answer")
            else:
                answers[place] = each.answer
        return filled(step, answers)

    async def look(self, query: str) -> Found:
        """What the retriever has for a query."""
        return await look(self.retriever, query, self.passages)

    def nothing(self, found: Found) -> str:
        """In place of an answer, where there is nothing to read."""
        return UNKNOWN

    def answered(self, step: Step, query: str, found: Found, told: str, needed: Sequence[Any]) -> Answered:
        """One step's result."""
        ids, titles = tuple(each.id for each in found.passages), tuple(each.title for each in found.passages)
        level = 1 + max((each.level for each in needed if not isinstance(each, Hole)), default=0)
        return Answered(query, found.outcome, ids, titles, plain(told).strip() or UNKNOWN, level)

    def findings(self, steps: Sequence[Step], answered: Sequence[Answered | Hole]) -> str:
        """What was found, as the last call reads it."""
        lines = []
        for step, each in zip(steps, answered, strict=False):
            if isinstance(each, Hole):
                rf.note(f"no answer to {step.question!r:.80}: {each.error}"[:300])
            lines.append(f"{step.question} {UNKNOWN}" if isinstance(each, Hole) else f"{each.question} {each.answer}")
        return "\n".join(lines)

    def done(self, last: Any, answered: Sequence[Answered | Hole]) -> Record:
        """The outputs, with what was searched."""
        whole = [each for each in answered if not isinstance(each, Hole)]
        turns = 2 + max((each.level for each in whole), default=0)
        searches = [each._asdict() for each in whole]
        return Record({**last.fields, "searches": searches, "turns": turns}, last.full_text, last.thinking)
