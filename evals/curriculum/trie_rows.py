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

from reasonflow.errors import InputError, UnknownName
from reasonflow.evals.curriculum.embedded import DRAFT, EMBEDDED, Reasoner
from reasonflow.evals.curriculum.lessons import Teacher
from reasonflow.evals.curriculum.search_lessons import search_rows
from reasonflow.evals.curriculum.tool_lessons import tool_rows
from reasonflow.evals.tasks.graph import Graph
from reasonflow.evals.tasks.problems import item, parse_source
from reasonflow.evals.tasks.solutions import threads_pay
from reasonflow.optimizers.command import run

THREADED = 0.6
"""Share of threaded rows where nobody says otherwise."""
REASONERS: dict[str, Reasoner] = {reasoner.model: reasoner for reasoner in (EMBEDDED, DRAFT)}


def rows(
    count: int,
    *,
    threaded: float = THREADED,
    search: float = 0.0,
    tools: float = 0.0,
    model: str = EMBEDDED.model,
    stage: str = "refine",
    drafts: Path | None = None,
    seed: int = 0,
) -> Iterator[dict[str, Any]]:
    """So many rows; another seed gives others, of problems that no evaluation asks.

    threaded: share of rows in threads. search: share of rows in searching. tools: share of rows in tools. model:
    embedded, or its twin, which is taught no threads and no searching. stage: of the curriculum that the others are
    of. drafts: a folder of the model's own drafts, which those that read drafts read; drafts with made mistakes if not
    given. Raises InputError for shares above the whole, and for those that the model is not taught.
    """
    if threaded + search + tools > 1:
        raise InputError(
            f"threaded={threaded}, search={search} and tools={tools} are more than all rows",
            fix="give shares that add up to 1 at most",
        )
    if model not in REASONERS:
        raise UnknownName.among("model", model, REASONERS)
    reasoner = REASONERS[model]
    if reasoner is not EMBEDDED and threaded + search:
        raise InputError(f"{model!r} is taught no threads and no searching", fix="leave them at 0")
    random = Random(f"trie/{stage}/{seed}")
    shares = (threaded, search, tools, max(0.0, 1 - threaded - search - tools))
    kinds = (
        _threaded(random, seed),
        search_rows(seed),
        tool_rows(seed, reasoner),
        _others(reasoner, stage, seed, drafts),
    )
    for _ in range(count):
        yield next(random.choices(kinds, shares)[0])


def _threaded(random: Random, seed: int) -> Iterator[dict[str, Any]]:
    source, teacher, number = parse_source(f"graphmath:threads,split=train,seed={seed}"), Teacher(random), 0
    while True:
        found = item(source, number)
        number += 1
        if isinstance(found.content, Graph) and threads_pay(found.content):
            lesson = teacher.thread(found)
            yield {"messages": list(lesson.messages), "text": "".join(piece.text for piece in lesson.completion)}


def _others(reasoner: Reasoner, stage: str, seed: int, drafts: Path | None) -> Iterator[dict[str, Any]]:
    for example in reasoner.examples(stage, seed, drafts):
        tokens, first = list(example.tokens), example.learned[0][0]
        units = [{"context": tokens[:start], "completion": tokens[start:end]} for start, end in example.learned]
        yield {"prompt": tokens[:first], "units": units}


def _write(file: Path, count: int, told: dict[str, Any]) -> None:
    beside = file.with_suffix(".part")
    with beside.open("w", encoding="utf-8") as out:
        for row in rows(count, **told):
            out.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")
    beside.replace(file)


def main(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where rows-0.jsonl, rows-1.jsonl, ... go.")],
    count: Annotated[int, typer.Option(min=1, help="Rows in all.")] = 1_000,
    threaded: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of threaded rows.")] = THREADED,
    search: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of rows in searching.")] = 0.0,
    tools: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of rows in tools.")] = 0.0,
    model: Annotated[str, typer.Option(help=f"Whom they teach: {' or '.join(REASONERS)}.")] = EMBEDDED.model,
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

      python -m reasonflow.evals.curriculum.trie_rows --out runs/rows --threaded 0.1 --search 0.3 --tools 0.3

      python -m reasonflow.evals.curriculum.trie_rows --out runs/rows --model embedded-draft --stage draft --threaded 0
    """
    processes = min(count, workers or len(os.sched_getaffinity(0)))
    told: dict[str, Any] = {"threaded": threaded, "search": search, "tools": tools}
    told |= {"model": model, "stage": stage, "drafts": drafts}
    # What cannot be is refused here: an unknown model or stage, a folder without drafts, shares that are too large.
    next(rows(1, **told, seed=seed))
    next(_others(REASONERS[model], stage, seed, drafts))
    out.mkdir(parents=True, exist_ok=True)
    parts = [
        (out / f"rows-{part}.jsonl", len(range(part, count, processes)), {**told, "seed": seed * processes + part})
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
