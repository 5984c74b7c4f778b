"""What a benchmark is: where its rows live, which of their columns mean what, and how they become problems."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from reasonflow.errors import InputError
from reasonflow.evals.dataset import Problem, RowReader, problem_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """A public dataset as the Hugging Face hub holds it."""

    repository: str
    config: str | None = None
    split: str
    """As `datasets` spells it; `train+test` is both."""
    file: str | None = None
    """A JSON file of the repository, read as it is: for a column whose values are of several types, which `datasets`
    has no table for."""
    problem: tuple[str, ...]
    """The columns that make up the problem, joined by a space."""
    answer: str
    """The column of the gold answer."""
    id: str | None = None
    """The column of ids; None numbers the rows."""
    clean: Callable[[str], str] = str.strip
    """Turns the answer column into the answer."""
    convert: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None
    """Turns a row into one of our files' rows, where that takes more than problem and answer."""
    read: RowReader = problem_of
    """Makes a problem of a row as our files have it."""
    licence: str
    """As declared by its authors or its copy on the hub."""

    def read_row(self, row: Mapping[str, Any], *, where: str, default_id: str, source: str) -> Problem:
        """A row of a file as a problem of this benchmark: its answer is cleaned, too. A `RowReader`."""
        answer = row.get("answer")
        cleaned = {**row, "answer": self.clean(answer)} if isinstance(answer, str) else row
        return self.read(cleaned, where=where, default_id=default_id, source=source)


def to_problems(name: str, benchmark: Benchmark, rows: Iterable[Mapping[str, Any]]) -> Iterator[Problem]:
    """The hub's rows as problems. Raises InputError where the dataset has other columns than its entry says."""
    for index, row in enumerate(rows):
        missing = [column for column in (*benchmark.problem, benchmark.answer) if column not in row]
        if missing:
            raise InputError(
                f"the benchmark {name!r} has no column {missing[0]!r}",
                why=f"row {index} of {benchmark.repository} has {', '.join(row)}; the dataset may have changed",
                fix="give the problems as JSON lines with --data FILE",
            )
        given = row.get(benchmark.id) if benchmark.id else None
        id = f"{name}-{index}" if given is None else f"{name}-{given}"
        fields = {"id": id, **_fields(name, benchmark, index, row)}
        yield benchmark.read(fields, where=f"{name} row {index}", default_id=id, source=name)


def _fields(name: str, benchmark: Benchmark, index: int, row: Mapping[str, Any]) -> Mapping[str, Any]:
    if benchmark.convert is None:
        return {
            "problem": " ".join(str(row[column]).strip() for column in benchmark.problem),
            "answer": benchmark.clean(str(row[benchmark.answer])),
        }
    try:
        return benchmark.convert(row)
    except (AttributeError, KeyError, SyntaxError, TypeError, ValueError) as error:
        raise InputError(
            f"row {index} of the benchmark {name!r} is not of the form of {benchmark.repository}",
            why=f"{type(error).__name__}: {error}; the dataset may have changed",
            fix="give the problems as JSON lines with --data FILE",
        ) from error
