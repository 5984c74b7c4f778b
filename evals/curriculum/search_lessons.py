"""Lessons in searching, as rows of token ids: trajectories turn by turn, and notes out of pages.

Prompts are HybridSearch's own, and what stands between a model's turns is what its machine puts there: contexts are
those that the program sends, token by token. Every problem is taught in both forms, many queries a turn and one, with
one solution and the same searches that find nothing: neither form is learned better than the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any, NamedTuple, TypeAlias

from reasonflow.backends.hf_tokenizer import HfTokenizer
from reasonflow.backends.model_files import ModelFiles
from reasonflow.backends.protocol import Tokens
from reasonflow.evals.curriculum.embedded import EMBEDDED, Problems
from reasonflow.evals.curriculum.search_pages import pages_about
from reasonflow.evals.curriculum.searching import askings, condensed, note_of, reading, turn
from reasonflow.evals.tasks.chance import pick, shuffle
from reasonflow.evals.tasks.lookups import Lookup
from reasonflow.evals.tasks.problems import Item
from reasonflow.language.program import trace
from reasonflow.optimizers.trie_sft.units import Unit
from reasonflow.plan.nodes import Generate
from reasonflow.programs.hybrid_search import HybridSearch
from reasonflow.programs.pages import as_text
from reasonflow.programs.query_blocks import END
from reasonflow.programs.retrieval.bounded import Found
from reasonflow.programs.retrieval.passages import Passage
from reasonflow.programs.search_machine import NOTHING, Log, SearchMachine
from reasonflow.prompts.context import Context, ContextTemplate
from reasonflow.prompts.render import PromptTemplate
from reasonflow.runtime.call import template

Row: TypeAlias = dict[str, Any]
"""As `reasonflow.optimizers.trie_sft.data` reads it."""

SEARCHED = {
    "search": 0.6, "search,missing=1..3,hops=1..2": 0.1, "search,width=4..6,missing=4..8": 0.26,
    "search,missing=0": 0.04,
}  # fmt: skip
"""Share of each mix; the last leaves nothing out, and is solved without a search."""
_NOTES = 3
"""Of a trajectory: of many searches alike, few tell the model anything about the others."""
_LOST = (0.09, 0.04, 0.02)
"""Share of problems of which one search finds nothing in its first words; in the first two; in any."""


class Said(NamedTuple):
    """A turn, as the machine wants it."""

    context: Context
    """With the turn behind it."""
    text: str
    stopped: str | None


class Asked(NamedTuple):
    """A query, where it was asked."""

    query: str
    reasoning: str
    """As it is condensed along."""


@dataclass(frozen=True, slots=True)
class Trajectory:
    """A problem searched and solved."""

    units: tuple[Unit, ...]
    """One for each of the model's turns."""
    asked: tuple[Asked, ...]
    text: str
    """All behind the prompt."""

    @property
    def row(self) -> Row:
        """To be trained on."""
        return row_of(self.units)


def row_of(units: tuple[Unit, ...]) -> Row:
    """Units of which the first begins with nothing but the prompt."""
    pairs = [{"context": list(unit.context), "completion": list(unit.completion)} for unit in units]
    return {"prompt": list(units[0].context), "units": pairs}


class Searcher:
    """Plays the built-in model in HybridSearch."""

    def __init__(self, *, sequential: bool) -> None:
        self.sequential = sequential
        program = HybridSearch("problem -> answer", _nowhere, sequential=sequential, shown="own")
        sites = [node.op.site for node in trace(program).plan.walk() if isinstance(node.op, Generate)]
        self._machine: SearchMachine = program.machine
        self._begin = template(next(site for site in sites if site.continues and site.begins))
        self._condense = template(next(site for site in sites if not site.continues))
        self._tokenizer = HfTokenizer(ModelFiles(EMBEDDED.model))

    def trajectory(self, item: Item, solution: str, lost: Iterable[str] = ()) -> Trajectory:
        """lost: queries that find nothing; the next turn asks for the same in other words, as long as there are any."""
        assert isinstance(self._begin, ContextTemplate)
        known = {**notes_of(item.lookups), **dict.fromkeys(lost, NOTHING)}
        context, log = self._begin.render({"problem": item.text}, self._tokenizer).context, Log()
        units: list[Unit] = []
        asked: list[Asked] = []
        while True:
            notes = {search.query: search.note for search in log.searches}
            text = turn(item.lookups, notes, solution, sequential=self.sequential)
            written = self._tokenizer.encode(text)
            said = Said(context.behind([(written, text)]), text, END if text.endswith(END) else None)
            if not self._machine.asks(said):
                units.append(Unit(context.tokens, written + EMBEDDED.stop[:1]))
                return Trajectory(tuple(units), tuple(asked), said.context.text)
            units.append(Unit(context.tokens, written))
            block = self._machine.asked(said, log)
            asked += (Asked(query, self._machine.own(query, block)) for query in block.new)
            looked = [self._machine.noted(_found(), condensed(known[query])) for query in block.new]
            context, log = self._machine.joined(said, log, block, looked)

    def note(self, asked: Asked, passages: list[Passage]) -> Row:
        """Pages are read for a query."""
        pages = as_text(asked.query, _found(*passages))
        unit = Unit(self.condensing(asked, pages), self._tokenizer.encode(reading(pages, asked.query)))
        return row_of((Unit(unit.context, unit.completion + EMBEDDED.stop[:1]),))

    def condensing(self, asked: Asked, pages: str) -> Tokens:
        """The prompt of the call that reads them."""
        assert isinstance(self._condense, PromptTemplate)
        inputs = {"query": asked.query, "pages": pages, "reasoning": asked.reasoning}
        tokens = self._condense.render(inputs, self._tokenizer).tokens
        assert tokens is not None, "there is a tokenizer"
        return tokens


@cache
def searcher(sequential: bool) -> Searcher:
    """Of each form, one."""
    return Searcher(sequential=sequential)


def search_rows(seed: int) -> Iterator[Row]:
    """Without end: of each problem a trajectory in each form, and some of the notes that each of them takes."""
    random = Random(f"search/{seed}")
    draw, forms = Problems(SEARCHED, random, seed), (searcher(False), searcher(True))
    while True:
        found = draw()
        hops = [hop for lookup in found.lookups for hop in lookup.hops()]
        lost = _lost(pick(random, hops), random) if hops else ()
        solution = found.solution(random)
        trajectories = [form.trajectory(found, solution, lost) for form in forms]
        yield from (trajectory.row for trajectory in trajectories)
        for form, trajectory in zip(forms, trajectories, strict=True) if hops else ():
            every = list(trajectory.asked)
            shuffle(random, every)
            for asked in every[:_NOTES]:
                yield form.note(asked, pages_about(found.lookups, asked.query, random))


def _lost(hop: Lookup, random: Random) -> tuple[str, ...]:
    draw = random.random()
    count = sum(draw < sum(_LOST[times:]) for times in range(len(_LOST)))
    return askings(hop.name, hop.house)[:count]


def notes_of(lookups: tuple[Lookup, ...]) -> Mapping[str, str]:
    """What is to be noted of every query that a problem can take, in its first words and in others."""
    hops = [hop for lookup in lookups for hop in lookup.hops()]
    return {asked: note_of(hop) for hop in hops for asked in askings(hop.name, hop.house)}


def _found(*passages: Passage) -> Found:
    return Found(passages=passages, seconds=0.0, outcome="found", error="", cached=False)


async def _nowhere(query: str) -> list[str]:
    """In place of a retriever: lessons bring their own pages."""
    raise AssertionError(query)
