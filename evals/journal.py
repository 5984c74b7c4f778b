"""A write-ahead log of finished model calls: what an evaluation that is killed need not ask the model again.

`calls.jsonl` has one JSON line per finished sample of a model call, under the problem and sample of the evaluation it
was made for and the key the runtime gives it. Once that sample is recorded its calls are of no more use: they are left
out when the file is compacted, and a complete evaluation leaves no file behind.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from reasonflow.backends.protocol import Completion
from reasonflow.errors import InputError
from reasonflow.evals.dataset import read_lines
from reasonflow.evals.samples import Key, repair
from reasonflow.runtime.journal import from_row, to_row

FILE = "calls.jsonl"
COMPACT_BYTES = 64 * 2**20
"""Useless lines beyond this, and beyond half of the file, are dropped while the evaluation runs."""


class _Place(NamedTuple):
    """Where a line stands in the file, in bytes."""

    offset: int
    size: int


class CallLog:
    """The calls of one evaluation folder. `find` and `keep` come from engines' threads, the rest from the evaluator's.

    Only the places of the lines of unfinished samples are held in memory.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self._lock = threading.Lock()
        self._lines: dict[Key, dict[str, _Place]] = {}
        self._size = self._useless = 0
        """Bytes of the file, and of its lines that nobody will look for."""
        self._fd = -1

    def open(self, recorded: Iterable[Key] = ()) -> CallLog:
        """Read what earlier sessions left and make ready to append.

        recorded: samples that are done; their calls are dropped. A last line that is only half there is cut off. Raises
        InputError naming a line that is damaged.
        """
        if self.path.exists():
            repair(self.path)
            self._index(set(recorded))
        self._fd = _opened(self.path)
        if self._useless:
            self._compact()
        return self

    def journal(self, key: Key) -> SampleJournal:
        """The journal of one sample's program call."""
        return SampleJournal(self, key)

    def find(self, key: Key, call: str) -> Completion | None:
        """A call that an earlier session, or this one, has recorded for a sample."""
        with self._lock:
            line = self._lines.get(key, {}).get(call)
            if line is None:
                return None
            row = json.loads(os.pread(self._fd, line.size, line.offset))
        return from_row(row["completion"])

    def keep(self, key: Key, call: str, completion: Completion) -> None:
        """Append a call. On return the kernel has the line: no end of this process can lose it.

        Raises InputError where the file cannot be written, as on a full disk.
        """
        row = {"id": key[0], "sample": key[1], "key": call, "completion": to_row(completion)}
        line = json.dumps(row).encode() + b"\n"
        with self._lock:
            # No fsync: it would stall the engine's loop by milliseconds at every call, and all a crash of the whole
            # machine can take are calls of samples in flight, which are then made again.
            self._append(line)
            self._lines.setdefault(key, {}).setdefault(call, _Place(self._size, len(line)))
            self._size += len(line)

    def finish(self, key: Key) -> None:
        """The sample is recorded. Puts the calls of the others on disk too, which a crash of the machine then keeps."""
        with self._lock:
            self._useless += sum(line.size for line in self._lines.pop(key, {}).values())
            if self._useless > max(COMPACT_BYTES, self._size // 2):
                self._compact()
            else:
                os.fsync(self._fd)

    def forget(self, key: Key) -> None:
        """The calls of this sample are of no use, though it is not recorded. A later session finds none of them."""
        with self._lock:
            self._useless += sum(line.size for line in self._lines.pop(key, {}).values())
            self._compact()

    def close(self, *, complete: bool = False) -> None:
        """End it; a complete evaluation needs none of its calls any more. Idempotent."""
        with self._lock:
            if self._fd < 0:
                return
            os.close(self._fd)
            self._fd = -1
            if complete:
                self.path.unlink()

    def _index(self, recorded: set[Key]) -> None:
        """Where the lines of unfinished samples stand."""
        try:
            for line in read_lines(self.path):
                key, call = _identity(line.row, f"{self.path}:{line.number}")
                self._size = line.offset + line.size
                if key in recorded:
                    self._useless += line.size
                else:
                    self._lines.setdefault(key, {}).setdefault(call, _Place(line.offset, line.size))
        except InputError as error:
            raise InputError(
                error.what,
                why=error.why,
                fix=f"remove {self.path}, and the calls of unfinished samples are made again; or start afresh with "
                "another --out",
            ) from error

    def _append(self, line: bytes) -> None:
        """Write all of a line, or nothing."""
        try:
            _write(self._fd, line)
        except OSError as error:
            os.ftruncate(self._fd, self._size)  # half a line would damage the middle of the file with the next one
            raise InputError(
                f"cannot write to {self.path}", why=str(error), fix="make room on the disk; the same command goes on"
            ) from error

    def _compact(self) -> None:
        """Keep the lines of unfinished samples only. A crash leaves the old file or the new one."""
        temporary = self.path.with_suffix(".tmp")
        temporary.unlink(missing_ok=True)
        fresh = _opened(temporary)
        moved: dict[Key, dict[str, _Place]] = {}
        size = 0
        for key, lines in self._lines.items():
            for call, line in lines.items():
                _write(fresh, os.pread(self._fd, line.size, line.offset))
                moved.setdefault(key, {})[call] = _Place(size, line.size)
                size += line.size
        os.fsync(fresh)
        temporary.replace(self.path)
        os.close(self._fd)
        self._fd, self._lines, self._size, self._useless = fresh, moved, size, 0


@dataclass(frozen=True, slots=True)
class SampleJournal:
    """A `runtime.journal.Journal`: the calls of one sample."""

    log: CallLog
    key: Key

    def find(self, key: str) -> Completion | None:
        return self.log.find(self.key, key)

    def keep(self, key: str, completion: Completion) -> None:
        self.log.keep(self.key, key, completion)


def _opened(path: Path) -> int:
    """A file descriptor that reads anywhere and writes at the end."""
    return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _identity(row: Mapping[str, Any], where: str) -> tuple[Key, str]:
    """Which call a row holds. Raises InputError for a row that holds none."""
    try:
        key, call = (row["id"], int(row["sample"])), row["key"]
        from_row(row["completion"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{where}: not a call of an evaluation", why=f"{type(error).__name__}: {error}", fix="remove the file"
        ) from error
    return key, call
