"""The steps of HybridDeepSearcher's loop between model calls: from queries to pages, from notes to the next turn.

As the released code has them (arXiv 2508.19113, inference script), over token ids, each question by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import dspy

import reasonflow as rf
from reasonflow.programs.final_fields import final_fields
from reasonflow.programs.pages import look, plain
from reasonflow.programs.query_blocks import (
    END,
    RESULTS_END,
    THINK,
    THINK_END,
    abridged,
    alone,
    in_thought,
    read_block,
)
from reasonflow.programs.retrieval.bounded import Bounded, Found
from reasonflow.programs.search_prompts import FINAL, results
from reasonflow.prompts.context import Context
from reasonflow.prompts.neutralise import specials_of
from reasonflow.prompts.styles import Style, answer_field
from reasonflow.runtime.values import Hole, Record

NOTHING = "Nothing was found."
REPEATED = "This was searched before: see the results above."
SPENT = "No more searches are left: answer with what is known."
NO_ANSWER = "no answer came of it"


class Search(NamedTuple):
    """One query of a run, and what came of it."""

    turn: int
    """From 1."""
    query: str
    outcome: str
    """found, nothing, timed out, failed, or repeated."""
    passages: tuple[str, ...]
    """Ids of what was found, best first."""
    titles: tuple[str, ...]
    note: str
    """What the model was told of it."""


class Log(NamedTuple):
    """What a run has searched."""

    turns: int = 0
    searches: tuple[Search, ...] = ()

    @property
    def calls(self) -> int:
        """Queries that went to the retriever."""
        return sum(search.outcome != "repeated" for search in self.searches)


class Asked(NamedTuple):
    """What a turn asks for."""

    queries: list[str]
    """All that are answered, in order."""
    new: list[str]
    """Those of them that are to be searched."""
    text: str
    """All before, its own block the last."""
    reasoning: str
    """The same abridged."""


class Looked(NamedTuple):
    """What came of one query that was searched."""

    found: Found
    note: str


class Joined(NamedTuple):
    """What the next turn goes on from."""

    context: Context
    log: Log


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchMachine:
    """What the steps of one program have in common."""

    signature: type[dspy.Signature]
    style: Style
    """How an answer of the signature is read."""
    retriever: Bounded
    passages: int
    """Of a query, at most."""
    width: int
    """Queries of a turn, at most."""
    calls: int | None
    """Queries of a run, at most; None: as many as its turns ask for."""
    reuse: bool
    """A query that was asked before is answered from the run's own record, instead of with a word that it was."""
    notes: tuple[str, ...] = ()
    """What every run record says of the program."""

    # A turn ---------------------------------------------------------------------------------------------------------

    def asks(self, record: Any) -> bool:
        """Whether a record ends in a query block that counts."""
        return bool(record.stopped == END and read_block(record.text).queries)

    def answers(self, state: tuple[Any, Log]) -> bool:
        """Whether there is nothing more to search: the model asks for nothing, or the run's queries are spent."""
        record, log = state
        return not self.asks(record) or (self.calls is not None and log.calls >= self.calls)

    def asked(self, record: Any, log: Log) -> Asked:
        """The queries of a turn: of too many the last are left out, and the record says so."""
        block = read_block(record.text)
        queries = list(dict.fromkeys(block.queries))
        if len(queries) < len(block.queries):
            rf.note(f"{len(block.queries) - len(queries)} queries stand twice in a turn: searched once")
        if in_thought(record.context.text):
            rf.note("queries inside a thought that is not closed: it goes on behind the results")
        before = {search.query for search in log.searches}
        new = [query for query in queries if query not in before]
        most = self.width if self.calls is None else min(self.width, self.calls - log.calls)
        if len(new) > most:
            rf.note(f"{len(new) - most} of {len(new)} queries are left out: {most} are allowed")
            left_out = set(new[most:])
            new, queries = new[:most], [query for query in queries if query not in left_out]
        text = record.context.text
        return Asked(queries, new, text, abridged(text))

    def own(self, query: str, asked: Asked) -> str:
        """The reasoning of one query: without the others of its turn."""
        return abridged(alone(asked.text, query))

    async def look(self, query: str) -> Found:
        """What the retriever has for a query."""
        return await look(self.retriever, query, self.passages)

    def noted(self, found: Found, note: Any) -> Looked:
        """A query's outcome and what the model is told of it. note: what condensing gave, None where there was none."""
        if note is None:
            words = {"nothing": NOTHING, "timed out": "The search took too long.", "failed": "The search failed."}
            return Looked(found, words[found.outcome])
        text = str(note)
        return Looked(found, plain((text.rpartition(FINAL)[2] if FINAL in text else text).strip()) or NOTHING)

    def joined(self, record: Any, log: Log, asked: Asked, looked: Sequence[Looked | Hole]) -> Joined:
        """The results behind the queries, and a new thought where the model thinks."""
        turn, done = log.turns + 1, {search.query: search for search in log.searches}
        made = {query: self._search(turn, query, each) for query, each in zip(asked.new, looked, strict=True)}
        searches: list[Search] = []
        for query in asked.queries:
            search = made.get(query)
            if search is None:
                note = done[query].note if self.reuse else REPEATED
                search = done[query]._replace(turn=turn, outcome="repeated", note=note)
            searches.append(search)
        # Behind the prompt nothing else takes their power from the model's own control tokens.
        specials = specials_of(record.context.tokenizer)
        lines = [plain(f"{search.query}: {search.note}", specials) for search in searches]
        return Joined(record.context.then(_results(lines, record.context.text)), Log(turn, (*log.searches, *searches)))

    def _search(self, turn: int, query: str, looked: Looked | Hole) -> Search:
        if isinstance(looked, Hole):
            rf.note(f"{query!r:.80}: nothing could be made of its pages: {looked.error}"[:300])
            return Search(turn, query, "failed", (), (), "The search failed.")
        passages = looked.found.passages
        ids, titles = tuple(each.id for each in passages), tuple(each.title for each in passages)
        return Search(turn, query, looked.found.outcome, ids, titles, looked.note)

    # The end --------------------------------------------------------------------------------------------------------

    def unanswered(self, record: Any) -> bool:
        """Whether no answer stands behind the last results: it is to be asked for."""
        return record.stopped == END or self._fields(record)[answer_field(self.signature)] is None

    def forced(self, record: Any) -> Context:
        """What an answer is made to follow: queries that dangle are closed, and so is the thought."""
        context: Context = record.context
        block = read_block(record.text)
        if block.fault:
            rf.note(block.fault)
        if block.queries or block.fault:
            rf.note("the searches are spent: an answer is asked for" if block.queries else "an answer is asked for")
            closed = "" if record.text.endswith(END) else END
            context = context.then(f"{closed}{_results([SPENT], '')}")
        else:
            rf.note("the model ended without an answer: it is asked for")
        thought = f"{THINK_END}\n\n" if in_thought(context.text) else "\n\n"
        return context.then(thought + ("**Final Answer:**\n\\boxed{" if self.style == "boxed" else ""))

    def read(self, record: Any, log: Log) -> Record:
        """The outputs, with what was searched and the whole text."""
        for note in self.notes:
            rf.note(note)
        found = self.so_far(record, log)
        if found[answer_field(self.signature)] is None:
            rf.note(NO_ANSWER)
        return found

    def so_far(self, record: Any, log: Log) -> Record:
        """The same without a word about an answer that is not there yet."""
        fields, text = self._fields(record), record.context.text
        searches = [search._asdict() for search in log.searches]
        return Record({**fields, "searches": searches, "turns": log.turns + 1, "trajectory": text}, text)

    def _fields(self, record: Any) -> dict[str, Any]:
        """Of the text behind the last results alone: what a document says is no answer."""
        if not record.text.strip():
            return dict.fromkeys(self.signature.output_fields)
        text = record.context.text.rpartition(RESULTS_END)[2]
        return final_fields(self.signature, self.style, text, cut=record.cut)


def _results(lines: Sequence[str], before: str) -> str:
    """The block of results behind a query block. before: all in front of it, where a new thought may follow."""
    again = f"{THINK}\n" if THINK in before and not in_thought(before) else ""
    return f"\n\n{results(lines)}\n\n{again}"
