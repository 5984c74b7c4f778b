"""What an evaluation of a searching program needs beside its problems: something to search, and a record of what was.

The passages that came with the problems are part of the corpus, the gold ones among distractors.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from reasonflow.errors import InputError
from reasonflow.evals.dataset import Problem
from reasonflow.evals.qa.scores import measure_all, summarise
from reasonflow.evals.qa.search import Query, Search
from reasonflow.evals.run_lines import RunLines
from reasonflow.evals.samples import Key, Sample
from reasonflow.evals.statistics import Interval
from reasonflow.programs import searches
from reasonflow.programs.retrieval.bm25 import BM25
from reasonflow.programs.retrieval.passages import Passage, content_id
from reasonflow.programs.retrieval.sources import passages as read_passages

FILE = "searches.jsonl"
INDEX = "index"
_READERS = ("condense", "read")
"""Call sites whose text is about pages: what they write is no part of a trajectory."""


def corpus_of(problems: Iterable[Problem], files: Sequence[Path] = ()) -> Iterator[Passage]:
    """The passages of files, then those of the problems, each content once, and with an id of its own."""
    seen: set[str] = set()
    ids: set[str] = set()
    given = (passage for file in files for passage in read_passages(file))
    own = (
        Passage(id=content_id(each.title, each.text), title=each.title, text=each.text)
        for problem in problems
        for each in problem.evidence.passages
    )
    for passages in (given, own):
        for passage in passages:
            content = content_id(passage.title, passage.text)
            if content not in seen:
                seen.add(content)
                yield replace(passage, id=content) if passage.id in ids else passage
                ids.add(passage.id)


def index_of(problems: Sequence[Problem], files: Sequence[Path], folder: Path) -> BM25:
    """A BM25 index in `folder`, made again only where its passages are others. Raises InputError without a passage."""
    passages = list(corpus_of(problems, files))
    if not passages:
        raise InputError(
            "there is nothing to search",
            why="no corpus was given, and the problems come without passages",
            fix="give --corpus FILE: JSON lines with title and text",
        )
    return BM25.of(passages, folder)


class SearchLines:
    """Keeps what each run of one evaluation folder has searched. Use as a context; hand `ended` to the runner."""

    def __init__(self, folder: Path) -> None:
        self._lines = RunLines(folder / FILE)

    def ended(self, key: Key, prediction: Any) -> None:
        """Keep what a run searched."""
        run = getattr(prediction, "run", None)
        spans = () if run is None else run.spans
        written = sum(span.output_tokens for span in spans if span.node.rpartition("/")[2] not in _READERS)
        self._lines.keep(
            key, {"turns": prediction["turns"], "tokens": written, "searches": list(prediction["searches"])}
        )

    @property
    def found(self) -> dict[Key, Search]:
        """By sample; runs that failed are not among them."""
        return {key: search_of(row) for key, row in self._lines.rows.items()}

    def __enter__(self) -> SearchLines:
        self._lines.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.__exit__(kind, error, trace)


def search_of(row: Mapping[str, Any]) -> Search:
    """A run's line as metrics read it. A step of a plan counts as a query of its level."""
    turns: list[list[Query]] = [[] for _ in range(row["turns"])]
    for each in row["searches"]:
        turn = each["turn"] if "turn" in each else each["level"] + 1  # the plan itself is the first
        turns[turn - 1].append(Query(text=each.get("query", each.get("question")), titles=tuple(each["titles"])))
    return Search(turns=tuple(map(tuple, turns)), tokens=row["tokens"])


@contextmanager
def lines(folder: Path, program: object) -> Iterator[SearchLines | None]:
    """The lines of a program that searches; None of another."""
    if not searches(type(program)):
        yield None
        return
    with SearchLines(folder) as kept:
        yield kept


def figures(
    problems: Sequence[Problem], samples: Sequence[Sample], kept: SearchLines | None, seed: int
) -> dict[str, Interval] | None:
    """Of answers in words and of searches, with intervals; None where there is neither.

    `never_searched` is the share of runs that asked for nothing: they failed, whatever they answered.
    """
    if kept is None and not any(problem.kind in ("text", "listed") for problem in problems):
        return None
    found = summarise(measure_all(problems, samples, None if kept is None else kept.found), seed=seed)
    found.pop("passage_coverage", None)  # of texts, which the lines do not hold
    if kept is not None:
        calls = {key: search.calls for key, search in kept.found.items()}
        idle: dict[str, list[dict[str, float]]] = defaultdict(list)
        for sample in samples:
            idle[sample.id].append({"never_searched": float(not calls.get(sample.key))})
        found |= summarise(list(idle.values()), seed=seed)
    return found
