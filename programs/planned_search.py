"""PlannedSearch: a question is divided first, and each sub-question searched as soon as what it needs is known.

HybridSearch lets all queries of a turn wait for the slowest of them. Here nothing waits for what it does not read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dspy

import reasonflow as rf
from reasonflow.errors import InputError
from reasonflow.language.signatures import read_signature
from reasonflow.programs.hybrid_search import DEADLINE_S, LONGEST, PASSAGES, READER, SEARCHER
from reasonflow.programs.pages import as_text, has_pages
from reasonflow.programs.planned_steps import Planner
from reasonflow.programs.quick import quick
from reasonflow.programs.refinement import about, extended, unused
from reasonflow.programs.retrieval.bounded import Bounded
from reasonflow.programs.retrieval.paths import by_path

_DIVIDE = """Divide the question into sub-questions that can each be looked up, as few as it takes, one a line and
numbered. Where one needs the answer to an earlier one, write # and its number in place of that answer. Sub-questions
that do not need each other are looked up at the same time.

1. Who wrote the book?
2. In which town was #1 born?"""
_ANSWER = "Answer the question from the pages, in a few words; say unknown where they do not tell."
_FINISH = "The findings are what was looked up for it."


class PlannedSearch(rf.Program):
    """A plan of sub-questions, searched and answered as a graph, and an answer out of all of them.

    The output has, beside the signature's fields, `searches`, a list of what was asked, found and answered, and
    `turns`, how many calls stood one behind the other, the plan and the answer included.

    retriever: a path, or what `as_retriever` takes, as for HybridSearch. steps: sub-questions at most; further ones are
        left out. passages: of a query.
    deadline_s: of a query, in seconds; None: none. cache: a folder of pages for later runs.
    given: an input that holds the sub-questions, `{"question": ..., "needs": [places from 0]}` each, in place of a plan
        by the model. reader: the model that answers sub-questions, the other one's if not given.
    """

    def __init__(
        self,
        signature: str | type[dspy.Signature] = "question -> answer",
        retriever: Any = None,
        *,
        steps: int = 16,
        passages: int = PASSAGES,
        deadline_s: float | None = DEADLINE_S,
        cache: str | Path | None = None,
        given: str | None = None,
        reader: dspy.LM | None = None,
        config: dict[str, Any] | None = None,
    ) -> None:
        if retriever is None:
            raise InputError(
                "there is nothing to search",
                why="PlannedSearch needs a retriever",
                fix='PlannedSearch("question -> answer", BM25.of("corpus.jsonl")), or a function f(query)',
            )
        for name, number in (("steps", steps), ("passages", passages)):
            if number < 1:
                raise InputError(f"{name}={number} searches nothing", fix="give a whole number from 1 up")
        task, settings = read_signature(signature), {**SEARCHER, **(config or {})}
        self.findings = unused("findings", task)
        self.given = given
        self.signature = task if given is None else task.append(given, dspy.InputField(), type_=list)
        plan = ("steps", "sub-questions, numbered")
        if given is None:
            self.divide = rf.Generate(about(task, _DIVIDE, {}, plan), style="text", config=settings)
        self.read = rf.Generate(
            dspy.Signature("question, pages -> answer", _ANSWER), style="text", config={**READER, "max_tokens": 256}
        )
        if reader is not None:
            self.read.lm = reader
        findings = (str, "what was looked up, with answers")
        self.finish = rf.Generate(extended(task, _FINISH, {self.findings: findings}), config=settings)
        self.steps = rf.Choice(steps)
        self.planner = Planner(
            retriever=Bounded(by_path(retriever), deadline_s=deadline_s, longest=LONGEST, folder=cache),
            passages=passages,
        )

    def plan(self, **inputs: Any) -> Any:
        planner = self.planner
        if self.given is not None:
            steps = rf.call(quick(planner.given), inputs.pop(self.given))
        else:
            steps = rf.call(quick(planner.planned), self.divide(**inputs).text, next(iter(inputs.values())))

        def one(step: Any, found: Any) -> Any:
            query = rf.call(quick(planner.query), step, found)
            pages = rf.call(planner.look, query)
            told = rf.when(
                rf.call(quick(has_pages), pages),
                lambda: self.read(question=query, pages=rf.call(as_text, query, pages)).text,
                lambda: rf.call(quick(planner.nothing), pages),
            )
            return rf.call(quick(planner.answered), step, query, pages, told, found)

        answered = rf.each(steps, one, cap=int(self.steps), needs=planner.needs)
        last = self.finish(**inputs, **{self.findings: rf.call(quick(planner.findings), steps, answered)})
        return rf.answer(rf.call(quick(planner.done), last, answered))
