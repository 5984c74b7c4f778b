"""The folder of an evaluation: what it is of, its samples, and the finished calls of samples under way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reasonflow.evals.journal import CallLog, SampleJournal
from reasonflow.evals.manifest import Manifest, claimed, write_or_match
from reasonflow.evals.samples import Key, Sample, SampleLog


class Record:
    """Both logs of a folder, which is this process's alone. Made by `recorded`."""

    def __init__(self, samples: SampleLog, calls: CallLog) -> None:
        self._samples, self._calls = samples, calls
        self.complete = False
        """Set it when nothing is missing: the finished calls are of no more use then."""

    @property
    def kept(self) -> tuple[Sample, ...]:
        """Samples of earlier sessions, in the order in which they ended."""
        return self._samples.kept

    def journal(self, key: Key) -> SampleJournal:
        """Where the calls of a sample's run are found and kept."""
        return self._calls.journal(key)

    def forget(self, key: Key) -> None:
        """Drop the calls of a sample, which is to be run from its beginning."""
        self._calls.forget(key)

    def append(self, sample: Sample) -> None:
        """Write one sample; it is on disk when this returns, and its calls are no longer kept."""
        self._samples.append(sample)
        self._calls.finish(sample.key)


@contextmanager
def recorded(folder: Path, manifest: Manifest) -> Iterator[Record]:
    """The record in a folder, new or of an evaluation with an equal manifest.

    Raises InputError for a folder of another evaluation or in use by another process, and for a damaged file.
    """
    with claimed(folder):
        write_or_match(folder, manifest)
        samples = SampleLog(folder).open()
        try:
            calls = CallLog(folder).open(sample.key for sample in samples.kept)
            record = Record(samples, calls)
            try:
                yield record
            finally:
                calls.close(complete=record.complete)
        finally:
            samples.close()
