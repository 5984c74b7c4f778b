"""Passages on disk, read one at a time: a million of them take no memory of the process."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from pathlib import Path

from reasonflow.programs.retrieval.passages import Passage
from reasonflow.programs.retrieval.sources import Digest, Source, passages, read, written

_LINES = "passages.jsonl"
_OFFSETS = "offsets.npy"


class Stored:
    """All passages of an index, by their position in its source."""

    def __init__(self, folder: Path) -> None:
        """Maps the files that `store` wrote. Raises OSError or ValueError where they are not whole."""
        import numpy as np  # not above: without it, BM25 and Dense say what to install

        self._offsets = np.load(folder / _OFFSETS, mmap_mode="r")
        self._bytes = np.memmap(folder / _LINES, dtype=np.uint8, mode="r")
        if int(self._offsets[-1]) != len(self._bytes):
            raise ValueError(f"{_LINES} has {len(self._bytes):,} bytes instead of {int(self._offsets[-1]):,}")

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, position: int) -> Passage:
        begin, end = self._offsets[position], self._offsets[position + 1]
        return read(self._bytes[begin:end].tobytes())


def store(source: Source, folder: Path, seen: Callable[[Passage], None] = lambda _: None) -> str:
    """Write all passages of a source, telling `seen` of each, and return their digest. Raises InputError as they do."""
    import numpy as np

    hashed, offsets = Digest(), array("q", [0])
    with (folder / _LINES).open("wb") as file:
        for passage in passages(source):
            seen(passage)
            line = written(passage)
            hashed.add(line)
            file.write(line)
            offsets.append(offsets[-1] + len(line))
    np.save(folder / _OFFSETS, np.frombuffer(offsets, dtype=np.int64))
    return hashed.told()
