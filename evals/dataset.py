"""Evaluation problems, and reading them from JSON lines with errors that name the line.

A file is read as a stream and a line is capped, so that a wrong file costs bounded memory.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import dspy

from reasonflow.errors import InputError
from reasonflow.evals.evidence import Evidence

Kind: TypeAlias = Literal["math", "text", "listed", "countdown", "generated", "calls", "tools"]
"""How an answer is graded: as mathematics, as normalised words, by whether every string of a structured gold answer is
found in it, as an expression that reaches a target, by the generator that made the problem, as function calls, or as a
set of tools."""

MAX_LINE_BYTES = 16 * 1024 * 1024
"""A line beyond this is an error: no benchmark row comes near it, and a whole file without line ends would."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing to solve."""

    id: str
    """Unique in its set; seeds and recorded samples refer to it."""
    inputs: Mapping[str, Any]
    """What the program is called with, by field name."""
    answer: str
    """The gold answer, without the dollar signs of LaTeX."""
    kind: Kind = "math"
    source: str = ""
    aliases: tuple[str, ...] = ()
    """Other answers that count as right."""
    grading: Mapping[str, Any] = field(default_factory=dict)
    """What grading needs beyond the answer: `numbers` and `target`, the `answers` with their JSON types, where the
    generator finds its entry again, the `ground_truth` of calls, or the `relevant` tools."""
    output: str = "answer"
    """The field of the program's that is graded."""
    instructions: str = ""
    """What the program is told of its task; empty: what the names of its fields say."""
    evidence: Evidence = field(default_factory=Evidence)
    """What the answer rests on, where that is annotated. Programs are not shown it."""


def digest(problems: Iterable[Problem]) -> str:
    """A hash over everything that decides what is asked and what counts as right, in order. Evidence does not."""
    hashed = hashlib.sha256()
    for problem in problems:
        row = [problem.id, dict(problem.inputs), problem.answer, problem.kind, problem.aliases, dict(problem.grading)]
        row += [text for text in (problem.output, problem.instructions) if text not in ("answer", "")]
        hashed.update(json.dumps(row, sort_keys=True, default=str).encode() + b"\n")
    return hashed.hexdigest()[:16]


def signature_of(problem: Problem) -> str | type[dspy.Signature]:
    """Of a program that solves problems like this one."""
    fields = f"{', '.join(problem.inputs)} -> {problem.output}"
    if not problem.instructions:
        return fields
    made: type[dspy.Signature] = dspy.Signature(fields, problem.instructions)
    return made


class RowReader(Protocol):
    """Makes a problem of one row. Raises InputError that starts with `where`."""

    def __call__(self, row: Mapping[str, Any], *, where: str, default_id: str, source: str) -> Problem: ...


def read_problems(path: str | Path, read: RowReader | None = None) -> list[Problem]:
    """All problems of a JSON-lines file. Raises InputError naming file and line.

    read: what a row means; None: `problem_of`. There a row has `problem` or `question`, and `answer` or `answers` (the
    first is the gold answer, the others aliases). `id` defaults to the line number. `numbers` with `target` make a
    countdown problem, `answers` a text problem.
    """
    path, read = Path(path), read or problem_of
    problems: list[Problem] = []
    first_seen: dict[str, int] = {}
    for line, row in read_rows(path):
        problem = read(row, where=f"{path}:{line}", default_id=f"line-{line}", source=path.stem)
        if problem.id in first_seen:
            raise InputError(
                f"{path}:{line}: the id {problem.id!r} occurs twice",
                why=f"line {first_seen[problem.id]} has it too; recorded samples are found again by it",
                fix="give every row an id of its own",
            )
        first_seen[problem.id] = line
        problems.append(problem)
    if not problems:
        raise InputError(
            f"{path} holds no problems",
            why="the file is empty, or has blank lines only",
            fix='write one JSON object a line: {"id": "1", "problem": "2 + 3 = ?", "answer": "5"}',
        )
    return problems


class Line(NamedTuple):
    """One line of a JSON-lines file."""

    number: int
    """From 1."""
    offset: int
    """Bytes before it in the file."""
    size: int
    """Its bytes, the line break included."""
    row: dict[str, Any]


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number from 1, row) of every line that is not blank. Raises InputError naming file and line."""
    for line in read_lines(path):
        yield line.number, line.row


def read_lines(path: Path) -> Iterator[Line]:
    """As `read_rows`, with the place of each line in the file."""
    try:
        # Bytes, not text: decoding line by line lets a bad byte be reported with its line.
        with path.open("rb") as file:
            number = offset = 0
            while raw := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                where = f"{path}:{number}"
                if len(raw) > MAX_LINE_BYTES:
                    raise InputError(
                        f"{where}: the line is longer than {MAX_LINE_BYTES // 2**20} MiB",
                        why="JSON lines have one object a line; this may be one JSON array, or no text at all",
                        fix="write each problem as one line",
                    )
                text = _decode(raw, where, first=number == 1)
                if text.strip():
                    yield Line(number, offset, len(raw), _object(text, where))
                offset += len(raw)
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path}", fix="check the path that was given") from error
    except OSError as error:
        raise InputError(f"cannot read {path}", why=str(error), fix="name a readable JSON-lines file") from error


def _decode(raw: bytes, where: str, *, first: bool) -> str:
    try:
        return raw.decode("utf-8-sig" if first else "utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: not UTF-8", why=str(error), fix="save the file as UTF-8") from error


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:  # RecursionError: ten thousand brackets are one line, too
        raise InputError(f"{where}: not valid JSON", why=str(error), fix="write one JSON object a line") from error
    if not isinstance(row, dict):
        raise InputError(
            f"{where}: a JSON {_json_type(row)} instead of an object",
            fix='write one JSON object a line: {"id": "1", "problem": "2 + 3 = ?", "answer": "5"}',
        )
    return row


def problem_of(row: Mapping[str, Any], *, where: str, default_id: str, source: str) -> Problem:
    """The problem a row of our schema describes. Raises InputError that starts with `where`."""
    name = "question" if "problem" not in row and "question" in row else "problem"
    text = _text(row, name, where)
    grading: dict[str, Any] = {}
    kind: Kind = "math"
    if "answers" in row:
        answers = row["answers"]
        if not isinstance(answers, (list, tuple)) or not answers:
            raise InputError(f"{where}: 'answers' must be a list with at least one answer", fix="write a JSON list")
        answer, *aliases = map(answer_text, answers)
        kind = "text"
    else:
        answer, aliases = _text(row, "answer", where), []
    if "numbers" in row and "target" in row:
        kind, grading = "countdown", {"numbers": list(row["numbers"]), "target": row["target"]}
    elif row.get("numeric") is False:
        kind = "text"
    return Problem(
        id=str(row.get("id") or default_id),
        inputs={name: text},
        answer=answer,
        kind=kind,
        source=str(row.get("source") or source),
        aliases=tuple(aliases),
        grading=grading,
    )


def _text(row: Mapping[str, Any], name: str, where: str) -> str:
    """A field that must hold something; numbers are taken as they would be written."""
    value = row.get(name)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and value.strip():
        return value
    if name not in row:
        have = ", ".join(map(repr, list(row)[:12])) or "nothing"
        raise InputError(
            f"{where}: the field {name!r} is missing",
            why=f"the row has {have}",
            fix="a row needs 'problem' (or 'question') and 'answer' (or 'answers')",
        )
    what = "is empty" if value in ("", None) or isinstance(value, str) else f"is a JSON {_json_type(value)}"
    raise InputError(f"{where}: the field {name!r} {what}", fix="write it as a non-empty string")


def answer_text(value: Any) -> str:
    """One of several answers as words; structured ones keep their JSON spelling."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _json_type(value: Any) -> str:
    names = {list: "array", str: "string", bool: "boolean", type(None): "null", dict: "object"}
    return names.get(type(value), "number")
