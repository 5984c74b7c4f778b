"""`python -m reasonflow.evals.self_training`: a model writes its own training data, in threads.

The second stage of ThreadWeaver's training (arXiv 2512.07843): what the model of the first stage writes in the real
state machine, and is right and well formed, is what it is trained on again.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import dspy
import typer

from reasonflow.cli.options import LOCAL, open_lm
from reasonflow.cli.shared_options import Data, Limit, MaxTokens, Model, Samples, Temperature, TopP, Verbose
from reasonflow.evals.benchmarks import load
from reasonflow.evals.dataset import Problem
from reasonflow.evals.grading import Grader
from reasonflow.evals.judging import required_answer
from reasonflow.optimizers.command import run
from reasonflow.optimizers.trie_sft.collect import collect
from reasonflow.programs.threads import ThreadWeaver

_TOLD_EVERY_S = 5.0
"""Seconds between two lines of progress, at least."""


def main(
    out: Annotated[Path, typer.Option(metavar="FILE", help="JSON lines; the same command goes on there.")],
    model: Model = "embedded",
    benchmark: Annotated[
        str, typer.Option(help="As `reasonflow eval` takes it; never one that you want to measure on later.")
    ] = "graphmath:threads,split=train",
    data: Data = None,
    limit: Limit = None,
    samples: Samples = 1,
    concurrency: Annotated[int, typer.Option(min=1, help="Runs side by side.")] = 64,
    temperature: Temperature = 1.0,
    top_p: TopP = None,
    max_tokens: MaxTokens = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
    verbose: Verbose = False,
) -> None:
    """Run ThreadWeaver over problems with a local model, and leave each trajectory as a row of training data.

    A row says whether its answer is right and its structure well formed: `python -m reasonflow.optimizers.trie_sft
    --data FILE` trains on those that are both.

    Examples:

      python -m reasonflow.evals.self_training --out runs/own.jsonl --limit 200

      python -m reasonflow.evals.self_training --out own.jsonl --model runs/trie-sft/model --data problems.jsonl
    """
    problems = {problem.id: problem for problem in load(None if data else benchmark, data=data, limit=limit)}
    program = ThreadWeaver(f"{', '.join(next(iter(problems.values())).inputs)} -> answer", rescue=False)
    lm = open_lm(model, engine=LOCAL, temperature=temperature, top_p=top_p, max_tokens=max_tokens, verbose=verbose)
    with Grader() as grader, dspy.context(lm=lm):

        def right(example: dspy.Example, found: Any) -> bool:
            return grader.grade(problems[example.id], required_answer(found)).correct

        found = collect(
            program, [_example(each) for each in problems.values()], right, out,
            samples=samples, beside=concurrency, say=_Watched(),
        )  # fmt: skip
    if as_json:
        print(json.dumps(asdict(found)))
    else:
        counts = f"{found.rows:,} rows, {found.correct:,} right, {found.well_formed:,} well formed, {found.kept:,} both"
        print(f"{counts}: {out}")


def _example(problem: Problem) -> dspy.Example:
    return dspy.Example(**problem.inputs, id=problem.id).with_inputs(*problem.inputs)


class _Watched:
    """Progress on standard error."""

    def __init__(self) -> None:
        self._told = time.monotonic()

    def __call__(self, done: int, count: int) -> None:
        if done == count or time.monotonic() - self._told >= _TOLD_EVERY_S:
            self._told = time.monotonic()
            print(f"{done:,}/{count:,}", file=sys.stderr, flush=True)


def cli() -> None:
    """The command, with this package's errors as plain messages."""
    run(main)


if __name__ == "__main__":
    cli()
