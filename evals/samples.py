"""The record of an evaluation: one JSON line per sample, written as it ends and kept when the run is cut off."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO, TextIO, TypeAlias

from reasonflow.errors import InputError
from reasonflow.evals.dataset import read_lines, read_rows

FILE = "samples.jsonl"
Key: TypeAlias = tuple[str, int]
"""A problem's id and the number of the sample."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One program call on one problem, and its verdict."""

    id: str
    """Of the problem."""
    sample: int
    """From 0."""
    seed: int
    answer: str | None
    """None where the call failed."""
    expected: str
    correct: bool
    score: float | None = None
    """What a metric gave; None where answers were compared."""
    reason: str = ""
    """Why an answer is wrong where that is not its value."""
    sequential_tokens: int | None = None
    """Token figures are None where the program keeps no run record, as plain DSPy modules do."""
    token_latency: int | None = None
    calls: int | None = None
    total_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    wall_s: float = 0.0
    """Of the call, without grading."""
    complete: bool = True
    """False where the run was cut short and gave the latest answer it had."""
    cut: str = ""
    """What cut it short."""
    squeezed: bool = False
    """Whether a budget left it less than its program asks for: fewer branches, shorter prompts or texts."""
    repairs: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    """Branches lost on the way."""
    error: str = ""
    """What the call raised."""
    session: int = 0
    """How many times the evaluation had been resumed."""
    ended_s: float = 0.0
    """Seconds from the start of its session to the sample's end."""

    @property
    def key(self) -> Key:
        return self.id, self.sample

    @property
    def value(self) -> float:
        """What it adds to a mean: the metric's score, else 1 or 0."""
        return float(self.correct) if self.score is None else self.score


_FIELDS = {field.name for field in fields(Sample)}


class SampleLog:
    """The samples of one evaluation folder, appended to by one process at a time."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self.kept: tuple[Sample, ...] = ()
        """Samples of earlier sessions, in the order in which they ended."""
        self._file: TextIO | None = None

    def open(self) -> SampleLog:
        """Read what earlier sessions left and make ready to append. Raises InputError for a damaged file."""
        if self.path.exists():
            repair(self.path)
            self.kept = tuple(read_samples(self.path))
        self._file = self.path.open("a", encoding="utf-8")
        return self

    def append(self, sample: Sample) -> None:
        """Write one sample; it is on disk when this returns."""
        assert self._file is not None, "append before open"
        self._file.write(json.dumps(asdict(sample), ensure_ascii=False) + "\n")
        self._file.flush()
        # A sample can cost minutes of a GPU, an fsync milliseconds.
        os.fsync(self._file.fileno())

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def read_samples(path: Path, *, growing: bool = False) -> list[Sample]:
    """All samples of a file. Raises InputError naming the line, also for a sample that occurs twice.

    growing: an evaluation may be writing to it: a last line without its line break is left out.
    """
    samples: dict[Key, Sample] = {}
    for line, row in _whole_rows(path) if growing else read_rows(path):
        sample = _sample(row, f"{path}:{line}")
        if sample.key in samples:
            raise InputError(
                f"{path}:{line}: sample {sample.sample} of problem {sample.id!r} occurs twice",
                fix="remove one of the lines, or start afresh with another --out",
            )
        samples[sample.key] = sample
    return list(samples.values())


def repair(path: Path) -> bool:
    """Cut off a last line that was only half written. True if there was one.

    A line is written in one go and ends in a line break, so what lacks it was interrupted; its sample runs again.
    """
    with path.open("r+b") as file:
        end = _end_of_lines(file)
        if end == file.seek(0, os.SEEK_END):
            return False
        file.truncate(end)
        return True


def _end_of_lines(file: BinaryIO) -> int:
    """Bytes up to the last line break and with it; 0 where there is none."""
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - 65536)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _whole_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """As `read_rows`, as far as whole lines go."""
    with path.open("rb") as file:
        end = _end_of_lines(file)
    if end:
        for line in read_lines(path):
            yield line.number, line.row
            if line.offset + line.size >= end:
                return


def _sample(row: Mapping[str, Any], where: str) -> Sample:
    known: dict[str, Any] = {name: row[name] for name in row if name in _FIELDS}
    known |= {name: tuple(value) for name, value in known.items() if isinstance(value, list)}
    try:
        return Sample(**known)
    except TypeError as error:
        raise InputError(
            f"{where}: not a sample of an evaluation", why=str(error), fix="start afresh with another --out"
        ) from error
