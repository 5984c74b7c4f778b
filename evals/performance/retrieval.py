"""What an index of BM25 costs: time and memory to build it, bytes on disk, milliseconds to search it.

Over passages made on the spot, which come in groups of look-alikes: one text, with a few words exchanged. Queries are
words of one passage; the share of those that find it first, before its look-alikes, stands beside the times.
"""

from __future__ import annotations

import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import TypeVar

import anyio
import orjson

from reasonflow.errors import InputError
from reasonflow.evals.performance.report import UNKNOWN, Provenance, Report, Table, provenance
from reasonflow.programs.retrieval.bm25 import BM25
from reasonflow.programs.retrieval.passages import Passage

T = TypeVar("T")

PASSAGES = 20_000
QUERIES = 500
TOP = 5
AT_ONCE = 8
"""Queries that are under way together: a program asks its subqueries side by side."""

_WORDS = 60
"""Of a text."""
_VOCABULARY = 200_000
_GROUP = 4
"""Passages that look alike."""
_EXCHANGED = 4
"""Words of a text that its look-alikes do not share."""
_BLOCK = 1024
"""Groups that are made at a time."""
_ASKED = 6
"""Words of the text that stand in a query, beside the title's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Indexing:
    """One index, built and searched."""

    passages: int
    build_s: float
    """From a file of JSON lines to an index that is open."""
    peak_rss_gib: float
    """Of the whole process, until the last query."""
    index_bytes: int
    """On disk, with the texts."""
    open_s: float
    alone_ms: Sequence[float]
    """Of each query, one after the other."""
    together_ms: Sequence[float]
    """Of each query, several at once."""
    found_first: float
    """Share of the queries whose own passage is the best, not a look-alike."""
    provenance: Provenance = UNKNOWN

    def figures(self) -> dict[str, float]:
        """By the names that a report has."""
        return {
            "passages": self.passages,
            "build_s": round(self.build_s, 2),
            "peak_rss_gib": round(self.peak_rss_gib, 3),
            "index_bytes": self.index_bytes,
            "open_s": round(self.open_s, 3),
            "p50_ms": round(statistics.median(self.alone_ms), 3),
            "p95_ms": round(percentile_95(self.alone_ms), 3),
            f"p50_ms_{AT_ONCE}_at_once": round(statistics.median(self.together_ms), 3),
            f"p95_ms_{AT_ONCE}_at_once": round(percentile_95(self.together_ms), 3),
            "found_first": round(self.found_first, 4),
        }

    def report(self) -> Report:
        figures = self.figures()
        return Report(
            benchmark="index",
            unit="seconds, GiB, bytes and milliseconds, as the names say; found_first is a share",
            figures=figures,
            tables=(
                Table(
                    title=f"BM25 over {self.passages:,} passages of {_WORDS} words",
                    columns=("figure", "value"),
                    rows=tuple((name, f"{value:,}") for name, value in figures.items()),
                ),
            ),
            repeats=1,
            details={"queries": len(self.alone_ms)},
            provenance=self.provenance,
        )


def measure_index(passages: int = PASSAGES, queries: int = QUERIES, seed: int = 0) -> Indexing:
    """Build and search an index in a temporary folder. Raises InputError for numbers below 1."""
    if passages < 1 or queries < 1:
        raise InputError(f"cannot measure {queries} queries on {passages} passages", fix="give numbers from 1 up")
    with tempfile.TemporaryDirectory(prefix="reasonflow-bench-") as made:
        source, folder = Path(made) / "source.jsonl", Path(made) / "index"
        asked = _write(source, passages, queries, seed)
        _, build_s = _timed(lambda: BM25.build(source, folder))
        index, open_s = _timed(lambda: BM25.open(folder))
        for query, _ in asked[:AT_ONCE]:
            index.find(query, TOP)
        alone = [_timed(partial(index.find, query, TOP)) for query, _ in asked]
        first = [best[0].id == id for (best, _), (_, id) in zip(alone, asked, strict=True)]
        return Indexing(
            passages=passages,
            build_s=build_s,
            open_s=open_s,
            index_bytes=sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()),
            alone_ms=tuple(1000 * seconds for _, seconds in alone),
            together_ms=tuple(anyio.run(_together, index, [query for query, _ in asked])),
            found_first=sum(first) / len(first),
            peak_rss_gib=peak_rss_gib(),
            provenance=provenance(("reasonflow", "bm25s", "numpy")),
        )


def look_alikes(passages: int, seed: int = 0) -> Iterator[Passage]:
    """So many passages, equal ones for equal numbers. Words are as frequent as Zipf's law says."""
    import numpy as np  # not above: it comes with the extra `search`

    draw = np.random.default_rng(seed)
    words = [_word(number) for number in range(_VOCABULARY)]
    shares = np.cumsum(1.0 / np.arange(1, _VOCABULARY + 1))
    shares /= shares[-1]
    number = count()
    while True:
        shared = np.searchsorted(shares, draw.random((_BLOCK, 2 + _WORDS)))
        places = 2 + (draw.random((_BLOCK, _GROUP, _EXCHANGED)) * _WORDS).astype(int)
        others = np.searchsorted(shares, draw.random((_BLOCK, _GROUP, 1 + _EXCHANGED)))
        for group in range(_BLOCK):
            for one in range(_GROUP):
                row = shared[group].copy()
                row[1], row[places[group, one]] = others[group, one, 0], others[group, one, 1:]
                first, second, *text = (words[each] for each in row)
                at = next(number)
                if at == passages:
                    return
                yield Passage(id=f"p{at}", title=f"{first.title()} {second.title()}", text=f"{' '.join(text)}.")


def percentile_95(numbers: Sequence[float]) -> float:
    """The number that 95 % do not exceed."""
    return sorted(numbers)[max(0, -(-len(numbers) * 95 // 100) - 1)]


def peak_rss_gib() -> float:
    """The most memory that this process has held, files that it has mapped included."""
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB here
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def _write(file: Path, passages: int, queries: int, seed: int) -> list[tuple[str, str]]:
    """The source as JSON lines; (query, id of the passage that it is made of) for some of its passages."""
    draw = random.Random(seed)
    chosen = set(draw.sample(range(passages), min(queries, passages)))
    asked = []
    with file.open("wb") as lines:
        for number, passage in enumerate(look_alikes(passages, seed)):
            lines.write(orjson.dumps({"id": passage.id, "title": passage.title, "text": passage.text}) + b"\n")
            if number in chosen:
                words = draw.sample(passage.text.rstrip(".").split(), _ASKED)
                asked.append((f"{passage.title} {' '.join(words)}?", passage.id))
    return asked


def _word(number: int) -> str:
    """A word of its own for every number, short for a small one."""
    syllables = []
    number += 1
    while number:
        number, rest = divmod(number, 80)
        syllables.append("bdfgklmnprstvzjh"[rest // 5] + "aeiou"[rest % 5])
    return "".join(syllables)


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    began = time.perf_counter()
    made = work()
    return made, time.perf_counter() - began


async def _together(index: BM25, queries: Sequence[str]) -> list[float]:
    """Milliseconds of each query, `AT_ONCE` of them under way."""
    took: list[float] = []
    waiting = iter(queries)

    async def one_after_the_other() -> None:
        for query in waiting:
            began = time.perf_counter()
            await index.search(query, TOP)
            took.append(1000 * (time.perf_counter() - began))

    async with anyio.create_task_group() as group:
        for _ in range(AT_ONCE):
            group.start_soon(one_after_the_other)
    return took
