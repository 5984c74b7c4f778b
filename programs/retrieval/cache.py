"""What was found before: in memory, the last used first to stay, and on disk where a folder is given."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeAlias

from reasonflow.errors import InputError
from reasonflow.programs.retrieval.passages import Passage

Passages: TypeAlias = tuple[Passage, ...]

FILE = "found.sqlite"
_TABLE = "CREATE TABLE IF NOT EXISTS found (asked TEXT PRIMARY KEY, passages TEXT NOT NULL) WITHOUT ROWID"
_BUSY_S = 10.0
"""How long a process waits for another one's write, which takes milliseconds."""


class Memory:
    """The answers of the queries that were used last, for several threads."""

    def __init__(self, size: int) -> None:
        """size: queries at most; 0 remembers nothing. Raises InputError for less."""
        if size < 0:
            raise InputError(f"a cache of {size} queries", fix="give 0 or more")
        self._size = size
        self._known: OrderedDict[str, Passages] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, asked: str) -> Passages | None:
        """What was found for it; None where nobody asked, or too many others did since."""
        with self._lock:
            found = self._known.get(asked)
            if found is not None:
                self._known.move_to_end(asked)
            return found

    def put(self, asked: str, found: Passages) -> None:
        """Remember it, and forget what was not used for the longest time."""
        with self._lock:
            self._known[asked] = found
            self._known.move_to_end(asked)
            while len(self._known) > self._size:
                self._known.popitem(last=False)


class Disk:
    """The answers of all queries, in a folder that several threads and processes may share.

    SQLite keeps the file whole when a process is killed. It is opened for each use, which costs a tenth of a
    millisecond: no connection has to be closed, or may not pass from thread to thread. Every method blocks, and raises
    sqlite3.Error where the file cannot be read or written.
    """

    def __init__(self, folder: str | Path) -> None:
        """Raises InputError where the folder cannot hold a cache."""
        self._file = Path(folder) / FILE
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._opened() as database:
                database.execute(_TABLE)
        except (OSError, sqlite3.Error) as error:
            raise InputError(
                f"{folder} cannot keep what was found", why=str(error), fix="name a folder that can be written"
            ) from error

    def get(self, asked: str) -> Passages | None:
        """What was found for it; None where nobody asked."""
        with self._opened() as database:
            row = database.execute("SELECT passages FROM found WHERE asked = ?", (asked,)).fetchone()
        if row is None:
            return None
        return tuple(
            Passage(id=id, title=title, text=text, score=score) for id, title, text, score in json.loads(row[0])
        )

    def put(self, asked: str, found: Passages) -> None:
        """Keep it."""
        row = json.dumps([[each.id, each.title, each.text, each.score] for each in found])
        with self._opened() as database:
            database.execute("INSERT OR REPLACE INTO found VALUES (?, ?)", (asked, row))

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """The file within one transaction."""
        with closing(sqlite3.connect(self._file, timeout=_BUSY_S)) as database, database:
            yield database
