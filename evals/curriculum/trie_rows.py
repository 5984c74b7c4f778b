"""`python -m reasonflow.evals.curriculum.trie_rows`: lessons as rows for trie-based fine-tuning.

Threaded lessons are rows of a chat and a text, whose units the fine-tuning finds; lessons in searching are rows of
token ids with a unit for each turn. All others keep the model what it was, and are rows of token ids with a unit for
each span that is to be learned. Both forms are those that `reasonflow.optimizers.trie_sft` reads.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Annotated, Any

import typer

from reasonflow.errors import InputError
from reasonflow.evals.curriculum.embedded import EMBEDDED
from reasonflow.evals.curriculum.lessons import Teacher
from reasonflow.evals.curriculum.search_lessons import search_rows
from reasonflow.evals.tasks.graph import Graph
from reasonflow.evals.tasks.problems import item, parse_source
from reasonflow.evals.tasks.solutions import threads_pay
from reasonflow.optimizers.command import run

THREADED = 0.6
"""Share of threaded rows where nobody says otherwise."""


def rows(
    count: int,
    *,
    threaded: float = THREADED,
    search: float = 0.0,
    stage: str = "refine",
    drafts: Path | None = None,
    seed: int = 0,
) -> Iterator[dict[str, Any]]:
    """So many rows; another seed gives others, of problems that no evaluation asks.

    threaded: share of rows in threads. search: share of rows in searching. stage: of the curriculum that the others are
    of. drafts: a folder of the model's own drafts, which those that read drafts read; drafts with made mistakes if not
    given. Raises InputError for shares above the whole.
    """
    if threaded + search > 1:
        raise InputError(
            f"threaded={threaded} and search={search} are more than all rows",
            fix="give shares that add up to 1 at most",
        )
    random = Random(f"trie/{stage}/{seed}")
    woven, searching, others = _threaded(random, seed), search_rows(seed), _others(stage, seed, drafts)
    for _ in range(count):
        draw = random.random()
        yield next(woven if draw < threaded else searching if draw < threaded + search else others)


def _threaded(random: Random, seed: int) -> Iterator[dict[str, Any]]:
    source, teacher, number = parse_source(f"graphmath:threads,split=train,seed={seed}"), Teacher(random), 0
    while True:
        found = item(source, number)
        number += 1
        if isinstance(found.content, Graph) and threads_pay(found.content):
            lesson = teacher.thread(found)
            yield {"messages": list(lesson.messages), "text": "".join(piece.text for piece in lesson.completion)}


def _others(stage: str, seed: int, drafts: Path | None) -> Iterator[dict[str, Any]]:
    for example in EMBEDDED.examples(stage, seed, drafts):
        tokens, first = list(example.tokens), example.learned[0][0]
        units = [{"context": tokens[:start], "completion": tokens[start:end]} for start, end in example.learned]
        yield {"prompt": tokens[:first], "units": units}


def _write(file: Path, count: int, threaded: float, search: float, stage: str, drafts: Path | None, seed: int) -> None:
    beside = file.with_suffix(".part")
    with beside.open("w", encoding="utf-8") as out:
        for row in rows(count, threaded=threaded, search=search, stage=stage, drafts=drafts, seed=seed):
            out.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")
    beside.replace(file)


def main(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where rows-0.jsonl, rows-1.jsonl, ... go.")],
    count: Annotated[int, typer.Option(min=1, help="Rows in all.")] = 1_000,
    threaded: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of threaded rows.")] = THREADED,
    search: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of rows in searching.")] = 0.0,
    stage: Annotated[str, typer.Option(help="Of the curriculum that the other rows are of.")] = "refine",
    drafts: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Drafts of the model's own, as its training has left them.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Equal seeds and workers give equal rows.")] = 0,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes, a file each; all cores if not given.")] = None,
) -> None:
    """Write lessons of the built-in model as rows for `python -m reasonflow.optimizers.trie_sft --data`.

    Examples:

      python -m reasonflow.evals.curriculum.trie_rows --out runs/rows --count 2000

      python -m reasonflow.evals.curriculum.trie_rows --out runs/rows --drafts runs/training/embedded/drafts-2

      python -m reasonflow.evals.curriculum.trie_rows --out runs/rows --threaded 0.3 --search 0.4
    """
    processes = min(count, workers or len(os.sched_getaffinity(0)))
    # What cannot be is refused here: an unknown stage, a folder without drafts, shares that are too large.
    next(_others(stage, seed, drafts))
    next(rows(1, threaded=threaded, search=search, stage=stage, drafts=drafts, seed=seed))
    out.mkdir(parents=True, exist_ok=True)
    parts = [
        (
            out / f"rows-{part}.jsonl",
            len(range(part, count, processes)),
            threaded,
            search,
            stage,
            drafts,
            seed * processes + part,
        )
        for part in range(processes)
    ]
    with get_context("spawn").Pool(processes) as pool:
        pool.starmap(_write, parts)
    print(f"{count:,} rows in {processes} files: {out}", file=sys.stderr)


def cli() -> None:
    """The command, with this package's errors as plain messages."""
    run(main)


if __name__ == "__main__":
    cli()
