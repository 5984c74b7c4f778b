"""Where the passages of an index come from: a file of JSON lines, a Hugging Face dataset, or passages in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import orjson

from reasonflow.errors import InputError
from reasonflow.programs.retrieval.passages import Passage

Source: TypeAlias = "str | Path | Iterable[Passage | Mapping[str, Any]]"
"""A file of JSON lines; a `Columns` of a dataset; passages, or such rows."""

MAX_LINE_BYTES = 64 * 1024 * 1024
"""A line beyond this is an error: no page comes near it, and a whole file without line ends would."""
_ROW = '{"id": "1", "title": "Paris", "text": "Paris is the capital of France."}'


@dataclass(frozen=True, slots=True)
class Columns:
    """A Hugging Face dataset as passages, read anew each time it is gone through."""

    dataset: Any
    """A `datasets.Dataset`, or a name that the hub or its cache knows."""
    text: str = "text"
    """The column of the texts."""
    title: str | None = None
    """The column of the titles; None: they have none."""
    id: str | None = None
    """The column of the ids; None numbers the rows from 0."""
    split: str = "train"
    """Of a dataset that is given by name, as `datasets` spells it."""
    config: str | None = None
    """Of a dataset that is given by name."""

    def __iter__(self) -> Iterator[Passage]:
        """Raises InputError where the dataset cannot be had, or has other columns."""
        rows = self._loaded() if isinstance(self.dataset, str) else self.dataset
        wanted = [column for column in (self.text, self.title, self.id) if column is not None]
        have: Any = getattr(rows, "column_names", None)
        if isinstance(have, Mapping):
            raise InputError(
                "the dataset has several splits", why=f"they are {', '.join(have)}", fix="give one: dataset['train']"
            )
        missing = [column for column in wanted if have is not None and column not in have]
        if missing:
            raise InputError(
                f"the dataset has no column {missing[0]!r}", why=f"it has {', '.join(have)}", fix="name its columns"
            )
        for number, row in enumerate(rows):
            fields = {"text": row[self.text], "id": str(number) if self.id is None else row[self.id]}
            if self.title is not None:
                fields["title"] = row[self.title]
            yield _passage(fields, f"row {number} of the dataset", "")

    def _loaded(self) -> Any:
        try:
            import datasets
        except ImportError as error:
            raise InputError(
                f"the dataset {self.dataset!r} needs the package datasets",
                why=str(error),
                fix='pip install "reasonflow[eval]", or give the passages as JSON lines',
            ) from error
        try:
            return datasets.load_dataset(self.dataset, self.config, split=self.split)
        except Exception as error:  # network, hub and file errors of four libraries share no base class
            raise InputError(
                f"the dataset {self.dataset!r} cannot be loaded",
                why=f"{type(error).__name__}: {error}"[:300],
                fix="check its name and the connection to the Hugging Face hub, or give the passages as JSON lines",
            ) from error


def passages(source: Source) -> Iterator[Passage]:
    """All passages of a source, in its order. Raises InputError for a bad row, an id that occurs twice, and for none.

    A row has `text`, and may have `title` and `id`; other keys are not read. Without an id a line of a file is called
    `line-3`, a row in memory `row-3`, from 1.
    """
    seen: dict[str, int] = {}
    rows, name = (_lines(Path(source)), "line") if isinstance(source, (str, Path)) else (_rows(source), "row")
    for number, where, row in rows:
        passage = row if isinstance(row, Passage) else _passage(row, where, f"{name}-{number}")
        first = seen.setdefault(passage.id, number)
        if first != number:
            raise InputError(
                f"{where}: the id {passage.id!r} occurs twice",
                why=f"{name} {first} has it too; what is found is told apart by it",
                fix="give every passage an id of its own",
            )
        yield passage
    if not seen:
        raise InputError(
            f"{source} holds no passages" if isinstance(source, (str, Path)) else "there are no passages to index",
            fix=f"give JSON lines like {_ROW}",
        )


def twice(source: Source) -> Source:
    """A source that can be gone through more than once. Raises InputError for one that cannot."""
    if isinstance(source, Iterator):
        raise InputError(
            f"a {type(source).__name__} can be gone through once only",
            why="once is to see whether the index is of it",
            fix="give a list, a file or Columns(dataset); or build the index",
        )
    return source


def digest(source: Source) -> str:
    """A hash over all passages of a source, in order: two of equal content have the same, whatever they are kept in."""
    hashed = Digest()
    for passage in passages(source):
        hashed.add(written(passage))
    return hashed.told()


class Digest:
    """The hash of passages that are written one after the other."""

    def __init__(self) -> None:
        self._hashed = hashlib.sha256()

    def add(self, line: bytes) -> None:
        """line: as `written` gives it."""
        self._hashed.update(line)

    def told(self) -> str:
        """In hexadecimal digits."""
        return self._hashed.hexdigest()[:32]


def written(passage: Passage) -> bytes:
    """A passage as one line. Raises InputError for a text that no file can hold."""
    try:
        return orjson.dumps([passage.id, passage.title, passage.text]) + b"\n"
    except TypeError as error:
        raise InputError(
            f"the passage {passage.id!r} cannot be written",
            why=str(error),
            fix="give id, title and text as strings of whole characters",
        ) from error


def read(line: bytes) -> Passage:
    """The passage of such a line."""
    id, title, text = orjson.loads(line)
    return Passage(id=id, title=title, text=text)


def _rows(source: Iterable[Any]) -> Iterator[tuple[int, str, Any]]:
    """(number from 1, where it stands, row)."""
    if not isinstance(source, Iterable) or isinstance(source, (bytes, Mapping)):
        raise InputError(
            f"a {type(source).__name__} holds no passages",
            fix="give a file of JSON lines, Columns(dataset), or a list of passages",
        )
    for number, row in enumerate(source, 1):
        yield number, f"row {number}", row


def _lines(path: Path) -> Iterator[tuple[int, str, Any]]:
    """The same of every line that is not blank, as JSON."""
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                where = f"{path}:{number}"
                if len(line) > MAX_LINE_BYTES:
                    raise InputError(
                        f"{where}: the line is longer than {MAX_LINE_BYTES // 2**20} MiB",
                        why="JSON lines have one object a line; this may be one JSON array, or no text at all",
                        fix="write each passage as one line",
                    )
                line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                if line.strip():
                    yield number, where, _parsed(line, where)
    except FileNotFoundError as error:
        raise InputError(
            f"there is no file {path}", fix="check the path; a dataset of the hub is Columns(name)"
        ) from error
    except OSError as error:
        raise InputError(f"cannot read {path}", why=str(error), fix="name a readable JSON-lines file") from error


def _parsed(line: bytes, where: str) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise InputError(f"{where}: not valid JSON", why=str(error), fix=f"write a line like {_ROW}") from error


def _passage(row: object, where: str, default_id: str) -> Passage:
    """The passage of a row. Raises InputError that starts with `where`."""
    if not isinstance(row, Mapping):
        raise InputError(f"{where}: a {type(row).__name__} instead of an object", fix=f"write a row like {_ROW}")
    id, title, text = row.get("id"), row.get("title"), row.get("text")
    if not isinstance(text, str):
        what = f"is a {type(text).__name__}" if "text" in row else "is missing"
        have = ", ".join(map(repr, list(row)[:12])) or "nothing"
        raise InputError(f"{where}: the field 'text' {what}", why=f"the row has {have}", fix=f"as in {_ROW}")
    if title is not None and not isinstance(title, str):
        raise InputError(f"{where}: the field 'title' is a {type(title).__name__}", fix="write it as a string")
    if id is not None and not isinstance(id, (str, int)):
        raise InputError(f"{where}: the field 'id' is a {type(id).__name__}", fix="write it as a string or a number")
    return Passage(id=default_id if id is None else str(id), title=title or "", text=text)
