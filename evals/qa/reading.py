"""Rows of annotated questions as problems: the question is the input, the annotation becomes evidence.

A row has `question`, `answers` (or `answer`), and any of `passages`, `supporting_facts`, `evidence_titles`,
`decomposition`, `hops` and `type`. A passage has `title`, `text` and `supporting`; a supporting fact begins with a
title. A step of the decomposition has one of three forms: `question`, `answer` and the `support_idx` of its passage; a
`triple` of subject, relation and object; or `id`, `question`, `answer`, `depends_on`, and either `evidence` with a
`title` or a `decomposition` of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from reasonflow.errors import InputError
from reasonflow.evals.dataset import Problem, problem_of
from reasonflow.evals.evidence import Evidence, Passage, Step
from reasonflow.evals.qa.fanout import gold_strings

_REFERENCE = re.compile(r"#(\d+)")


def question_of(row: Mapping[str, Any], *, where: str, default_id: str, source: str) -> Problem:
    """A question whose answer is graded as words. Raises InputError that starts with `where`."""
    problem = problem_of(row, where=where, default_id=default_id, source=source)
    (question,) = problem.inputs.values()
    return replace(
        problem, inputs={"question": question}, kind="text", grading={}, evidence=evidence_of(row, where=where)
    )


def listed_question_of(row: Mapping[str, Any], *, where: str, default_id: str, source: str) -> Problem:
    """A question whose gold answer is an object, a list or a single value, as in FanOutQA. Raises InputError.

    It is graded by the strings of the answer, which keeps its JSON type in `grading["answers"]`.
    """
    answers = row["answers"] if "answers" in row else [row.get("answer")]
    problem = question_of({**row, "answers": answers}, where=where, default_id=default_id, source=source)
    for answer in answers:
        strings = gold_strings(answer)
        if answer is None or not strings or not all(string.strip() for string in strings):
            raise InputError(f"{where}: the answer {answer!r} holds nothing to find", fix="write a non-empty answer")
    return replace(problem, kind="listed", grading={"answers": list(answers)})


def evidence_of(row: Mapping[str, Any], *, where: str) -> Evidence:
    """The annotation of a row. Raises InputError that starts with `where` for one of another form."""
    try:
        passages = tuple(_passage(entry) for entry in row.get("passages") or ())
        facts = [str(title) for title, *_ in row.get("supporting_facts") or ()]
        named = _unique([*map(str, row.get("evidence_titles") or ()), *facts])
        steps = tuple(_steps(row.get("decomposition") or (), passages, named))
        hops = row.get("hops")
        return Evidence(
            titles=_unique(
                [
                    *named,
                    *(title for step in steps for title in step.titles),
                    *(passage.title for passage in passages if passage.supporting),
                ]
            ),
            passages=passages,
            steps=steps,
            hops=None if hops is None else int(hops),
            type=str(row.get("type") or ""),
        )
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{where}: the evidence is not of the form that is read here",
            why=f"{type(error).__name__}: {error}",
            fix="write passages, supporting_facts, evidence_titles, decomposition and hops as the documentation of "
            "reasonflow.evals.qa.reading says, or leave them out",
        ) from error


def _passage(entry: Mapping[str, Any]) -> Passage:
    return Passage(title=str(entry["title"]), text=str(entry["text"]), supporting=bool(entry.get("supporting", False)))


def _steps(entries: Sequence[Mapping[str, Any]], passages: Sequence[Passage], titles: Sequence[str]) -> Iterator[Step]:
    if entries and "triple" in entries[0]:
        yield from _of_triples([entry["triple"] for entry in entries], titles)
    elif entries and "support_idx" in entries[0]:
        yield from _of_single_hops(entries, passages)
    else:
        yield from _of_tree(entries, inherited=())


def _of_triples(triples: Iterable[Sequence[str]], titles: Sequence[str]) -> Iterator[Step]:
    """2WikiMultihopQA: a triple needs those whose object is its subject, and is found on the page of its subject."""
    made: dict[str, list[str]] = {}
    for number, (subject, relation, value) in enumerate(triples, start=1):
        yield Step(
            id=str(number),
            question=f"{subject} >> {relation}",
            answer=value,
            depends_on=tuple(made.get(subject.casefold(), ())),
            titles=tuple(title for title in titles if title.casefold() == subject.casefold()),
        )
        made.setdefault(value.casefold(), []).append(str(number))


def _of_single_hops(entries: Iterable[Mapping[str, Any]], passages: Sequence[Passage]) -> Iterator[Step]:
    """MuSiQue: `#1` in a question stands for the answer of the first. Numbers of no earlier step are a text's own."""
    for number, entry in enumerate(entries, start=1):
        question, index = str(entry["question"]), int(entry["support_idx"])
        if index < 0:
            raise IndexError(f"support_idx {index} is no passage's")
        named = (int(reference) for reference in _REFERENCE.findall(question))
        yield Step(
            id=str(number),
            question=question,
            answer=entry["answer"],
            depends_on=_unique(str(earlier) for earlier in named if 0 < earlier < number),
            titles=(passages[index].title,),
        )


def _of_tree(entries: Iterable[Mapping[str, Any]], inherited: Sequence[str]) -> Iterator[Step]:
    """FanOutQA: a question of several parts stands behind them, and they need what it needs."""
    for entry in entries:
        needed = _unique([*inherited, *map(str, entry.get("depends_on") or ())])
        parts = list(_of_tree(entry.get("decomposition") or (), needed))
        yield from parts
        page = entry.get("evidence")
        yield Step(
            id=str(entry["id"]),
            question=str(entry["question"]),
            answer=entry["answer"],
            depends_on=_unique([*needed, *(part.id for part in parts)]),
            titles=() if page is None else (str(page["title"]),),
        )


def _unique(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))
