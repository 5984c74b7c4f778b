"""The record of a compile: trials, what they gave on each example, and every finished model call, in one database.

One SQLite file that is this process's alone. Each line of it is there whole or not at all, and survives the end of the
process at any moment; a crash of the whole machine can take the last ones, which are then made again.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from reasonflow.backends.protocol import Completion
from reasonflow.errors import InputError
from reasonflow.runtime.journal import from_row, to_row
from reasonflow.runtime.ledger import NOTHING, Amount
from reasonflow.runtime.price import Price

FILE = "compile.sqlite"
PROMPTS, GATES = -2, -1
"""Where the number of a trial stands: what the phases without trials have spent."""
_OF_PHASE = {"prompts": f"trial = {PROMPTS}", "topology": "trial >= 0", "gates": f"trial = {GATES}"}
_TABLES = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT);
CREATE TABLE IF NOT EXISTS trials (number INTEGER PRIMARY KEY, settings TEXT, state TEXT, reason TEXT);
CREATE TABLE IF NOT EXISTS results (trial INTEGER, example INTEGER, row TEXT, PRIMARY KEY (trial, example));
CREATE TABLE IF NOT EXISTS calls (
    example INTEGER, key TEXT, session INTEGER, trial INTEGER, inputs INTEGER, outputs INTEGER, completion BLOB,
    PRIMARY KEY (example, key)
);
CREATE TABLE IF NOT EXISTS paid (
    session INTEGER, trial INTEGER, example INTEGER, calls INTEGER, total INTEGER, dollars REAL
);
CREATE TABLE IF NOT EXISTS sessions (number INTEGER PRIMARY KEY, seconds REAL);
CREATE TABLE IF NOT EXISTS phases (name TEXT PRIMARY KEY, value TEXT);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one trial gave on one example."""

    score: float
    sequential: int
    total: int
    calls: int
    error: str = ""
    """What the program or the metric raised; the score is 0 then."""


@dataclass(slots=True)
class Reused:
    """Calls of one run that were found, and so were not paid for again."""

    calls: int = 0
    inputs: int = 0
    outputs: int = 0


class TrialRecord:
    """Made by `recorded`. Calls are found and kept from engines' threads, the rest is the compile's own."""

    def __init__(self, connection: sqlite3.Connection, where: str) -> None:
        self._db, self._where = connection, where
        self._lock = threading.Lock()
        self.session = 0
        self._began = time.perf_counter()

    def open(self, about: Mapping[str, Any]) -> None:
        """Begin a session. Raises InputError where the folder is of another compile, or in use."""
        try:
            self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.executescript(_TABLES)
            self.session = self._one("SELECT COALESCE(MAX(number), -1) + 1 FROM sessions")
            self._write("INSERT INTO sessions VALUES (?, 0)", self.session)
        except sqlite3.OperationalError as error:
            raise InputError(
                f"cannot write to {self._where}",
                why=str(error),
                fix="wait for the compile that has it, or name another folder",
            ) from error
        except sqlite3.DatabaseError as error:
            raise InputError(f"{self._where} is damaged", why=str(error), fix="remove it, or name another") from error
        now = json.loads(json.dumps(about, default=str))
        before = {name: json.loads(value) for name, value in self._db.execute("SELECT name, value FROM about")}
        changed = [f"{name} was {was}, now {now.get(name)}" for name, was in before.items() if was != now.get(name)]
        if changed:
            raise InputError(
                f"{self._where} is the record of another compile",
                why="; ".join(text if len(text) < 200 else text[:199] + "…" for text in changed[:4]),
                fix="repeat the earlier command to go on, or name another folder",
            )
        for name, value in now.items():
            self._write("INSERT OR REPLACE INTO about VALUES (?, ?)", name, json.dumps(value))

    # Trials ----------------------------------------------------------------------------------------------------------

    def trials(self) -> list[tuple[int, str, str, str]]:
        """(number, settings as JSON, state, reason) of every trial, in order."""
        return list(self._db.execute("SELECT number, settings, state, reason FROM trials ORDER BY number"))

    def put_trial(self, number: int, settings: str, state: str, reason: str = "") -> None:
        """A new trial, or its new state."""
        self._write("INSERT OR REPLACE INTO trials VALUES (?, ?, ?, ?)", number, settings, state, reason)

    def results(self, trial: int) -> dict[int, Result]:
        """By the number of the example."""
        rows = self._db.execute("SELECT example, row FROM results WHERE trial = ?", (trial,))
        return {example: Result(**json.loads(row)) for example, row in rows}

    def end(self, trial: int, example: int, result: Result, paid: Amount) -> None:
        """A run has ended: what it gave, and what it took beyond the calls it found."""
        self._write("INSERT OR REPLACE INTO results VALUES (?, ?, ?)", trial, example, json.dumps(asdict(result)))
        self.pay(trial, example, paid)

    def drop(self, trial: int, example: int, paid: Amount) -> None:
        """A run was cut by the budget: what it took is spent, and texts that were cut short are no results."""
        where = "session = ? AND trial = ? AND example = ?"
        with self._lock, self._db:
            self._db.execute(f"DELETE FROM calls WHERE {where}", (self.session, trial, example))
        self.pay(trial, example, paid)

    # Calls -----------------------------------------------------------------------------------------------------------

    def journal(self, trial: int, example: int) -> ExampleJournal:
        """Where the calls of one run are found and kept."""
        return ExampleJournal(self, trial, example)

    def find(self, example: int, key: str) -> Completion | None:
        """A finished call on this example, of any trial and session."""
        with self._lock:
            found = self._db.execute(
                "SELECT completion FROM calls WHERE example = ? AND key = ?", (example, key)
            ).fetchone()
        return None if found is None else from_row(json.loads(zlib.decompress(found[0])))

    def keep(self, trial: int, example: int, key: str, done: Completion) -> None:
        """On return no end of this process can lose it."""
        text = zlib.compress(json.dumps(to_row(done)).encode(), level=1)
        self._write(
            "INSERT OR IGNORE INTO calls VALUES (?, ?, ?, ?, ?, ?, ?)",
            *(example, key, self.session, trial, done.prompt_tokens, done.output_tokens, text),
        )

    # Spending --------------------------------------------------------------------------------------------------------

    def spent(self, price: Price, phase: str | None = None) -> Amount:
        """By all sessions: what ended runs took, and the finished calls of those that were killed.

        phase: by this one; None: by all.
        """
        of = "TRUE" if phase is None else _OF_PHASE[phase]
        calls, total, dollars = self._db.execute(
            f"SELECT COALESCE(SUM(calls), 0), COALESCE(SUM(total), 0), COALESCE(SUM(dollars), 0) FROM paid WHERE {of}"
        ).fetchone()
        killed = self._made(
            price,
            f"{of} AND NOT EXISTS (SELECT 1 FROM paid WHERE (paid.session, paid.trial, paid.example) ="
            " (calls.session, calls.trial, calls.example))",
        )
        return Amount(total=total, calls=calls, dollars=dollars) + killed

    def made(self, price: Price, phase: str) -> Amount:
        """All finished calls of a phase that are on the record."""
        return self._made(price, _OF_PHASE[phase])

    def _made(self, price: Price, where: str) -> Amount:
        count, inputs, outputs = self._db.execute(
            f"SELECT COUNT(*), COALESCE(SUM(inputs), 0), COALESCE(SUM(outputs), 0) FROM calls WHERE {where}"
        ).fetchone()
        return Amount(total=inputs + outputs, calls=count, dollars=price.of(inputs, outputs)) if count else NOTHING

    def seconds(self) -> float:
        """Of all sessions, up to the last run that ended."""
        return float(self._one("SELECT COALESCE(SUM(seconds), 0) FROM sessions"))

    def begin(self) -> None:
        """The clock of this session starts: the engine is ready."""
        self._began = time.perf_counter()

    def took(self, seconds: float) -> None:
        """Something that kept its own time, over all sessions, took so long: no less has passed in this one."""
        self._began = min(self._began, time.perf_counter() - seconds)

    def pay(self, trial: int, example: int, paid: Amount) -> None:
        """Something has ended: what it took beyond the calls it found."""
        self._write(
            "INSERT INTO paid VALUES (?, ?, ?, ?, ?, ?)",
            *(self.session, trial, example, paid.calls, paid.total, paid.dollars),
        )
        took = time.perf_counter() - self._began
        self._write("UPDATE sessions SET seconds = ? WHERE number = ?", took, self.session)

    # Phases ----------------------------------------------------------------------------------------------------------

    def phase(self, name: str) -> Any:
        """What a phase has left, as `put_phase` was given it; None where it has not come to its end."""
        found = self._db.execute("SELECT value FROM phases WHERE name = ?", (name,)).fetchone()
        return None if found is None else json.loads(found[0])

    def put_phase(self, name: str, value: Any) -> None:
        """A phase has ended."""
        self._write("INSERT OR REPLACE INTO phases VALUES (?, ?)", name, json.dumps(value))

    def _one(self, query: str) -> Any:
        return self._db.execute(query).fetchone()[0]

    def _write(self, query: str, *values: Any) -> None:
        try:
            with self._lock, self._db:
                self._db.execute(query, values)
        except sqlite3.OperationalError as error:
            raise InputError(
                f"cannot write to {self._where}", why=str(error), fix="make room on the disk; the same command goes on"
            ) from error


class ExampleJournal:
    """A `runtime.journal.Journal`: the calls of one trial's run on one example.

    A call that another trial has made, with the same prompt, seed and place, is the same call: it is found too.
    """

    def __init__(self, record: TrialRecord, trial: int, example: int) -> None:
        self._record, self._trial, self._example = record, trial, example
        self.reused = Reused()

    def find(self, key: str) -> Completion | None:
        found = self._record.find(self._example, key)
        if found is not None:
            self.reused.calls += 1
            self.reused.inputs += found.prompt_tokens
            self.reused.outputs += found.output_tokens
        return found

    def keep(self, key: str, completion: Completion) -> None:
        self._record.keep(self._trial, self._example, key, completion)


@contextmanager
def recorded(folder: Path | None, about: Mapping[str, Any]) -> Iterator[TrialRecord]:
    """The record in a folder, new or of the same compile; without a folder one in memory.

    about: what must be equal for a compile to go on. Raises InputError for a folder of another one, or in use.
    """
    where = ":memory:" if folder is None else str(folder / FILE)
    try:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(where, timeout=1, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise InputError(f"cannot write into {folder}", why=str(error), fix="name a folder of your own") from error
    try:
        record = TrialRecord(connection, where)
        record.open(about)
        yield record
    finally:
        connection.close()
