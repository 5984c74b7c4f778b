"""How much of what questions need is found: the share of their supporting passages among the first five, hop by hop.

A file holds rows as the multi-hop sets are published: `question`, `passages` of which some are `supporting`, and where
they have one a `decomposition` into questions of one hop each, or into triples.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from reasonflow.errors import InputError
from reasonflow.evals.dataset import read_rows
from reasonflow.evals.performance.report import UNKNOWN, Provenance, Report, Table, provenance
from reasonflow.programs.retrieval.bm25 import BM25
from reasonflow.programs.retrieval.passages import Passage, content_id
from reasonflow.programs.retrieval.sources import passages

TOP = 5


class Index(Protocol):
    """What is measured: BM25, Dense, or another one."""

    def find(self, query: str, k: int) -> Sequence[Passage]:
        """The best passages first."""
        ...


@dataclass(frozen=True, slots=True)
class Hop:
    """One step of a decomposition."""

    query: str
    """With the gold answers of earlier steps filled in: a program that answers them rightly asks so."""
    supporting: str
    """The id of the passage that answers it."""


@dataclass(frozen=True, slots=True)
class Question:
    """One row."""

    text: str
    passages: tuple[Passage, ...]
    """All that stand in the row."""
    supporting: frozenset[str]
    """The ids of those that are needed."""
    hops: tuple[Hop, ...]
    """Those whose passage is known; empty where there is no decomposition."""


@dataclass(frozen=True, slots=True)
class Share:
    """So many of so many."""

    found: int
    of: int

    @property
    def value(self) -> float:
        """0 of none is 0."""
        return self.found / self.of if self.of else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """Of one file."""

    questions: int
    by_question: Share
    """Supporting passages that the question's own text finds."""
    by_hop: Share
    """Hops whose own question finds their passage."""
    together: Share
    """Supporting passages that the question or one of its hops finds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalls:
    """Of several files on one index."""

    recalls: Mapping[str, Recall]
    """By the file's name."""
    indexed: int
    """Passages."""
    provenance: Provenance = UNKNOWN

    def figures(self) -> dict[str, float]:
        """`NAME.question`, `NAME.hop` and `NAME.together`; the latter two only of files with hops."""
        flat: dict[str, float] = {}
        for name, recall in self.recalls.items():
            flat[f"{name}.question"] = round(recall.by_question.value, 4)
            if recall.by_hop.of:
                flat[f"{name}.hop"] = round(recall.by_hop.value, 4)
                flat[f"{name}.together"] = round(recall.together.value, 4)
        return flat

    def report(self) -> Report:
        return Report(
            benchmark="recall",
            unit=f"share of supporting passages among the first {TOP}",
            figures=self.figures(),
            tables=(
                Table(
                    title=f"Share of supporting passages among the first {TOP} of {self.indexed:,}",
                    columns=("file", "questions", "by the question", "each hop by its own", "by all together"),
                    rows=tuple(_row(name, recall) for name, recall in self.recalls.items()),
                ),
            ),
            repeats=1,
            details={"indexed": self.indexed, "questions": {n: each.questions for n, each in self.recalls.items()}},
            provenance=self.provenance,
        )


def measure_recall(
    files: Sequence[Path], corpora: Sequence[Path] = (), build: Callable[[list[Passage]], Index] = BM25.build
) -> Recalls:
    """Index all passages of all files, and of further corpora, and ask every question.

    Passages of equal title and text are one. Raises InputError for a row without a question or passages, for a file
    that cannot be read, and for two files of one name.
    """
    names = [file.stem for file in files]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"two files are called {twice!r}", fix="give files of different names")
    asked = {file.stem: list(questions(file)) for file in files}
    found = {each.id: each for rows in asked.values() for question in rows for each in question.passages}
    for corpus in corpora:
        found |= {each.id: each for each in (_passage(row.title, row.text) for row in passages(corpus))}
    index = build(list(found.values()))
    return Recalls(
        recalls={name: _recall(rows, index) for name, rows in asked.items()},
        indexed=len(found),
        provenance=provenance(("reasonflow", "bm25s", "numpy")),
    )


def questions(file: Path) -> Iterator[Question]:
    """The rows of a file. Raises InputError that names file and line."""
    for line, row in read_rows(file):
        where = f"{file}:{line}"
        try:
            given = [(_passage(each["title"], each["text"]), bool(each["supporting"])) for each in row["passages"]]
            text = row["question"].strip()
            hops = tuple(_hops(row.get("decomposition") or (), given))
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{where}: no question with its passages",
                why=f"{type(error).__name__}: {error}",
                fix="a row has 'question' and 'passages', a list of objects with 'title', 'text' and 'supporting'",
            ) from error
        needed = frozenset(passage.id for passage, supporting in given if supporting)
        yield Question(text, tuple(passage for passage, _ in given), needed, hops)


def _hops(steps: Sequence[Mapping[str, Any]], given: Sequence[tuple[Passage, bool]]) -> Iterator[Hop]:
    """MuSiQue's steps are questions with `#1` for an earlier answer; 2WikiMultihopQA's are triples about a page."""
    answers: list[str] = []
    for step in steps:
        if "triple" in step:
            subject, relation, _ = step["triple"]
            page = next((each for each, needed in given if needed and each.title.lower() == subject.lower()), None)
            if page is not None:
                yield Hop(f"{subject} {relation}", page.id)
        else:
            query = re.sub(r"#(\d+)", lambda found: answers[int(found[1]) - 1], step["question"])
            answers.append(step["answer"])
            yield Hop(query, given[step["support_idx"]][0].id)


def _recall(asked: Sequence[Question], index: Index) -> Recall:
    own = hits = together = 0
    for question in asked:
        best = _ids(index, question.text)
        own += len(question.supporting & best)
        for hop in question.hops:
            reached = _ids(index, hop.query)
            hits += hop.supporting in reached
            best |= reached
        together += len(question.supporting & best)
    needed = sum(len(question.supporting) for question in asked)
    return Recall(
        questions=len(asked),
        by_question=Share(own, needed),
        by_hop=Share(hits, sum(len(question.hops) for question in asked)),
        together=Share(together, needed),
    )


def _ids(index: Index, query: str) -> set[str]:
    return {each.id for each in index.find(query, TOP)}


def _passage(title: str, text: str) -> Passage:
    title, text = title.strip(), text.strip()
    return Passage(id=content_id(title, text), title=title, text=text)


def _row(name: str, recall: Recall) -> tuple[str, ...]:
    shares = [f"{each.value:.3f}" if each.of else "–" for each in (recall.by_question, recall.by_hop)]
    return (name, str(recall.questions), *shares, f"{recall.together.value:.3f}" if recall.by_hop.of else "–")
