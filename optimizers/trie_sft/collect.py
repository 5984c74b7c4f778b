"""Rows that a model writes itself, for self-training: what its program gave for each example, and how good that is.

The second stage of ThreadWeaver's training (arXiv 2512.07843): the model of the first stage runs in the real state
machine over all problems, and is trained again on what was right and well formed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import anyio
import anyio.to_thread
import dspy
from dspy.utils.exceptions import AdapterParseError

from reasonflow.backends.dspy_lm_engines import runtime_behind
from reasonflow.errors import InputError
from reasonflow.language.program import trace
from reasonflow.plan.nodes import Generate
from reasonflow.programs.threads import ThreadWeaver
from reasonflow.programs.trajectories import parse
from reasonflow.runtime.call import template

Metric = Callable[[dspy.Example, Any], Any]
"""Whether an output is right for an example: DSPy's own kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What a file of rows holds."""

    rows: int
    correct: int
    well_formed: int
    kept: int
    """Both, which is what training reads."""


def collect(
    program: ThreadWeaver,
    trainset: Sequence[dspy.Example],
    metric: Metric,
    out: Path,
    *,
    samples: int = 1,
    beside: int = 64,
    say: Callable[[int, int], None] | None = None,
) -> Collected:
    """Run the program over every example and leave a row for each sample in `out`, as JSON lines.

    A row is a chat and the text that answers it, with `correct` and `well_formed`. Called again with the same file it
    goes on: what has a row is not run again. samples: of each example. beside: runs at a time. say: gets the number of
    rows that are done, and of all, as each one ends.
    The language model is the context's, and has a tokenizer. Raises InputError for a program in another mode than
    "parallel", whose trajectories no state machine has made.
    """
    if program.mode != "parallel" or program.rescue:
        raise InputError(
            "rows for self-training come from the state machine alone",
            why="what was written in one go shows nothing of how the model does in threads",
            fix='ThreadWeaver(mode="parallel", rescue=False)',
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    done = _done(out)
    missing = [(n, sample) for n in range(len(trainset)) for sample in range(samples) if (n, sample) not in done]
    with out.open("a", encoding="utf-8") as file:
        told = _Told(say, len(done), len(trainset) * samples)
        anyio.run(_all, program, trainset, metric, missing, beside, file, told)
    return counted(out)


def counted(file: Path) -> Collected:
    """What a file of rows holds."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return Collected(
        rows=len(rows),
        correct=sum(row["correct"] for row in rows),
        well_formed=sum(row["well_formed"] for row in rows),
        kept=sum(row["correct"] and row["well_formed"] for row in rows),
    )


class _Told:
    """Whoever watches hears of every row."""

    def __init__(self, say: Callable[[int, int], None] | None, done: int, count: int) -> None:
        self._say, self._done, self._count = say, done, count

    def another(self) -> None:
        self._done += 1
        if self._say is not None:
            self._say(self._done, self._count)


async def _all(
    program: ThreadWeaver,
    trainset: Sequence[dspy.Example],
    metric: Metric,
    missing: Sequence[tuple[int, int]],
    beside: int,
    file: TextIO,
    told: _Told,
) -> None:
    chat, limit = _chat(program), anyio.CapacityLimiter(beside)
    lm = dspy.settings.lm

    async def one(number: int, sample: int) -> None:
        example = trainset[number]
        async with limit:
            with dspy.context(lm=lm.copy(rollout_id=sample, temperature=lm.kwargs.get("temperature") or 1.0)):
                row = await _row(program, example, metric)
        row = {"example": number, "sample": sample, "messages": chat(example.inputs().toDict()), **row}
        file.write(json.dumps(row, ensure_ascii=False) + "\n")
        file.flush()
        told.another()

    async with anyio.create_task_group() as group:
        for number, sample in missing:
            group.start_soon(one, number, sample)


async def _row(program: ThreadWeaver, example: dspy.Example, metric: Metric) -> dict[str, Any]:
    try:
        found = await program.acall(**example.inputs())
    except AdapterParseError as error:  # a trajectory without an answer
        return {"text": str(error.lm_response), "correct": False, "well_formed": False}
    well_formed = not found.run.repairs and parse(found.trajectory, program.machine.seams.dialect).well_formed
    # In a thread: comparing answers may take its time, and every other run would wait for it.
    correct = bool(await anyio.to_thread.run_sync(metric, example, found))
    return {"text": found.trajectory, "correct": correct, "well_formed": well_formed}


def _chat(program: ThreadWeaver) -> Callable[[Mapping[str, Any]], list[Any]]:
    """Makes the chat that the program begins with for some inputs."""
    sites = [node.op.site for node in trace(program).plan.walk() if isinstance(node.op, Generate)]
    prompt = template(next(site for site in sites if site.continues and site.begins))
    runtime = runtime_behind(dspy.settings.lm)
    tokenizer = None if runtime is None else runtime.backend.tokenizer
    return lambda inputs: [dict(message) for message in prompt.render(inputs, tokenizer).messages]


def _done(file: Path) -> set[tuple[int, int]]:
    if not file.exists():
        return set()
    whole = file.read_text(encoding="utf-8")
    lines = whole.splitlines()
    if whole and not whole.endswith("\n"):  # a line that was being written when it was stopped
        lines.pop()
        file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return {(row["example"], row["sample"]) for row in map(json.loads, lines)}
