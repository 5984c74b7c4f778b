"""HybridSearch (HybridDeepSearcher, arXiv 2508.19113): several queries at once where they are independent, one after
the other where they depend on what was found.

The model writes queries and stops; all of a turn are searched and condensed side by side; the results stand behind
them, and the model goes on with the same text, token by token. Questions have nothing in common but the pages found for
them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal, TypeAlias, get_args

import dspy

import reasonflow as rf
from reasonflow.errors import InputError
from reasonflow.language.choices import as_choice
from reasonflow.language.signatures import read_signature
from reasonflow.programs.knobs import Layout, Temperature, check_known, check_whole
from reasonflow.programs.pages import as_text, has_pages
from reasonflow.programs.query_blocks import BEGIN, END, MARKS
from reasonflow.programs.quick import nothing, quick
from reasonflow.programs.refinement import extended
from reasonflow.programs.retrieval.bounded import Bounded
from reasonflow.programs.retrieval.paths import by_path
from reasonflow.programs.search_machine import Log, SearchMachine
from reasonflow.programs.search_prompts import CONDENSE, MANY, ONE, examples, readings

Repeat: TypeAlias = Literal["told", "answered"]
Shown: TypeAlias = Literal["released", "own"]

TURNS = 10
PASSAGES = 5
DEADLINE_S = 60.0
LONGEST = 500_000
"""Characters of a page that are fetched at most (the released script's 500 KB)."""
SEARCHER: dict[str, Any] = {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "min_p": 0.0, "max_tokens": 4096}
READER: dict[str, Any] = {"temperature": 0.7, "top_p": 0.8, "top_k": 20, "max_tokens": 2048}
"""The released script's settings of the model that searches, and of the one that condenses pages."""


class HybridSearch(rf.Program):
    """A model searches in turns: its queries of one turn side by side, turns one after the other.

    Any retriever serves: see `reasonflow.programs.retrieval`. The output has, beside the signature's fields,
    `searches`, a list of what was asked and found; `turns`, how often the model wrote; `trajectory`, the whole text. An
    answer is always asked for: where the turns or queries are spent, where a query block is malformed, where the model
    ends without one. Each of that stands in the run record.

    retriever: the path of a file of JSON lines, or of an index; or what `as_retriever` takes: a Retriever, a retriever
        or tool of DSPy, a function. Only with a path can the program be saved. passages: of a query.
    turns: texts that the model writes before its answer is asked for. queries: of a turn at most; further ones are left
    out. calls: queries of a run at most. deadline_s: of a query, in seconds; None: none. cache: a folder of pages for
    later runs.
    condense: pages become a note before the searching model reads them, in a call of its own; False: it reads the pages
        themselves. reader: the model that condenses, the searching one if not given.
    repeat: what a query gives that its run has asked before: "told", a word that it was, as released; "answered", its
        results once more.
    shown: what whoever condenses pages reads of the reasoning before: "released", which has the last queries of a turn
        and leaves out the first of more than three; "own", which has of a turn the query that was searched, and none
        of the others. The query itself stands beside it in both.
    sequential: one query a turn, the baseline.
    prompted: for models that are not trained to search: worked examples stand in front, as demos of its sites, and
        the run record says so.
    temperature: of the searching model; None: that of the released script. layout: of all prompts: see `rf.Program`.
    Turns, shown, temperature and layout may be an `rf.Choice`, numbers also an `rf.Range`, for `rf.compile`.
    """

    search_space: ClassVar[Mapping[str, Sequence[Any]]] = MappingProxyType({"turns": (1, 2, 3, 5, 10)})

    def __init__(
        self,
        signature: str | type[dspy.Signature] = "question -> answer",
        retriever: Any = None,
        *,
        turns: int | rf.Choice = TURNS,
        passages: int = PASSAGES,
        queries: int = 16,
        calls: int | None = None,
        deadline_s: float | None = DEADLINE_S,
        cache: str | Path | None = None,
        condense: bool = True,
        reader: dspy.LM | None = None,
        repeat: Repeat = "told",
        shown: Shown | rf.Choice = "released",
        sequential: bool = False,
        prompted: bool = False,
        temperature: Temperature = None,
        layout: Layout = "auto",
        config: dict[str, Any] | None = None,
    ) -> None:
        if retriever is None:
            raise InputError(
                "there is nothing to search",
                why="HybridSearch needs a retriever",
                fix='HybridSearch("question -> answer", BM25.of("corpus.jsonl")), or a function f(query)',
            )
        for name, number in (("turns", turns), ("passages", passages), ("queries", queries), ("calls", calls)):
            if number is not None:
                check_whole(name, number, "searches nothing")
        for option, value, known in (("repeat", repeat, Repeat), ("shown", shown, Shown)):
            check_known(option, value, get_args(known))
        task = read_signature(signature)
        self.signature = task
        released = {name: value for name, value in SEARCHER.items() if name != "temperature" or temperature is None}
        settings = {**released, **(config or {})}
        self.search = rf.Continue(
            extended(task, ONE if sequential else MANY, {}), stop=END, unmarked=MARKS, config=settings
        )
        if prompted:
            if self.search.style != "boxed":
                raise InputError(
                    f"prompted=True has no examples for {task.signature!r}",
                    why="they end in one answer in a box",
                    fix="give a signature with one output of text, or demos of your own: program.search.demos",
                )
            self.search.demos = examples(task, sequential=sequential)
        self.finish = rf.Continue(stop=BEGIN, config=settings)
        self.condense = rf.Generate(_condensing(), style="text", config=READER) if condense else None
        if self.condense is not None:
            if prompted:
                self.condense.demos = readings()
            if reader is not None:
                self.condense.lm = reader
        self.turns = as_choice(turns)
        self.temperature, self.layout = temperature, layout
        self.shown = shown
        self.machine = SearchMachine(
            signature=self.search.signature,
            style=self.search.style,
            retriever=Bounded(by_path(retriever), deadline_s=deadline_s, longest=LONGEST, folder=cache),
            passages=passages,
            width=1 if sequential else queries,
            calls=calls,
            reuse=repeat == "answered",
            notes=("prompted, not trained",) if prompted else (),
        )

    def plan(self, **inputs: Any) -> Any:
        machine, turns = self.machine, int(self.turns)
        begun, log = self.search(**inputs), rf.call(quick(Log))
        rf.answer(rf.call(quick(machine.so_far), begun, log))  # all that a budget may leave
        state = (begun, log)
        if turns > 1:
            state = rf.loop(self._turn, state, until=machine.answers, max_rounds=turns - 1)
        last, log = state
        ended = rf.when(
            rf.call(quick(machine.unanswered), last),
            lambda: self.finish(after=rf.call(quick(machine.forced), last)),
            lambda: last,
        )
        return rf.answer(rf.call(quick(machine.read), ended, log))

    def _turn(self, state: Any) -> Any:
        machine = self.machine
        last, log = state

        def turn() -> Any:
            asked = rf.call(quick(machine.asked), last, log)
            looked = rf.each(asked.new, lambda query: self._look(query, asked), cap=machine.width)
            joined = rf.call(quick(machine.joined), last, log, asked, looked)
            went_on = self.search(after=joined.context)
            rf.answer(rf.call(quick(machine.so_far), went_on, joined.log))
            return {"last": went_on, "log": joined.log}

        found = rf.when(rf.call(quick(machine.asks), last), turn, lambda: {"last": last, "log": log})
        return found["last"], found["log"]

    def _look(self, query: Any, asked: Any) -> Any:
        machine, condense = self.machine, self.condense
        reasoning = asked.reasoning if self.shown == "released" else rf.call(quick(machine.own), query, asked)
        found = rf.call(machine.look, query)
        pages = rf.call(as_text, query, found)

        def read() -> Any:
            return pages if condense is None else condense(reasoning=reasoning, query=query, pages=pages).text

        note = rf.when(rf.call(quick(has_pages), found), read, lambda: rf.call(quick(nothing)))
        return rf.call(quick(machine.noted), found, note)


def _condensing() -> type[dspy.Signature]:
    """The signature of a call that makes a note of pages."""
    fields: dict[str, Any] = {
        # What the queries of a turn have in common stands first: the engine computes it once.
        "reasoning": (str, dspy.InputField(desc="earlier steps, abridged")),
        "query": (str, dspy.InputField(desc="what was searched")),
        "pages": (str, dspy.InputField(desc="what was found")),
        "note": (str, dspy.OutputField()),
    }
    made: type[dspy.Signature] = dspy.Signature(fields, CONDENSE)
    return made
