"""Lines about an evaluation's runs, one a run: what no sample's record holds, kept beside the samples."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from reasonflow.evals.dataset import read_rows
from reasonflow.evals.samples import Key, repair


class RunLines:
    """A file of JSON lines, each of one run. Use as a context.

    Keep a run's line before the runner records its sample: whatever is recorded has its line then.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: TextIO | None = None
        self.rows: dict[Key, Mapping[str, Any]] = {}
        """By sample, those of earlier sessions included."""

    def keep(self, key: Key, row: Mapping[str, Any]) -> None:
        """Write what is known of a run; it is on disk when this returns."""
        assert self._file is not None, "a run ended outside of the context"
        self.rows[key] = row
        self._file.write(json.dumps({"id": key[0], "sample": key[1], **row}, ensure_ascii=False) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def __enter__(self) -> RunLines:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._path.exists():
            repair(self._path)
            # A run that was stopped before its sample was recorded runs again: the later line counts.
            self.rows = {(row.pop("id"), row.pop("sample")): row for _, row in read_rows(self._path)}
        self._file = self._path.open("a", encoding="utf-8")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
