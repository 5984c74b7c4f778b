"""`rf.evaluate`: a program over DSPy examples, with any DSPy metric, on the engine's own scheduler."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import dspy
from dspy.evaluate import EvaluationResult
from rich.console import Console

from reasonflow.evals.dataset import Problem
from reasonflow.evals.judging import Metric, by_metric
from reasonflow.evals.metrics import math_equal
from reasonflow.evals.progress import Progress
from reasonflow.evals.report import Report, as_html, as_text, summarise
from reasonflow.evals.runner import Evaluation
from reasonflow.evals.runner import evaluate as run_evaluation
from reasonflow.evals.samples import Key
from reasonflow.evals.session import Audience
from reasonflow.evals.statistics import Accuracy
from reasonflow.optimizers.compile_data import inputs_of
from reasonflow.plan.budget import Budget

_ROWS = 20
"""Results a notebook shows."""


class Evaluated(EvaluationResult):
    """What `dspy.Evaluate` gives, `score` and `results`, with the samples and figures behind it."""

    def __init__(
        self, results: Sequence[tuple[dspy.Example, Any, float]], evaluation: Evaluation, report: Report
    ) -> None:
        total = sum(score for *_, score in results)
        super().__init__(score=round(100 * total / len(results), 2), results=list(results))
        self._evaluation, self._report = evaluation, report

    @property
    def evaluation(self) -> Evaluation:
        """Every sample, with its answer, verdict and token figures."""
        return self._evaluation

    @property
    def interval(self) -> Accuracy:
        """The mean score and its 95 % interval, as shares."""
        return self._report.accuracy

    @property
    def stopped(self) -> str:
        """Why samples are missing; empty where none is."""
        return self._evaluation.stopped

    def report(self) -> Report:
        """The figures: accuracy, tokens, time, failures."""
        return self._report

    def __repr__(self) -> str:
        return as_text(self._report)

    def _repr_html_(self) -> str:
        return as_html(self._report) + _results_html(self.results)


async def evaluate(
    program: dspy.Module,
    devset: Sequence[dspy.Example],
    metric: Metric = math_equal,
    *,
    lm: dspy.LM | None = None,
    samples: int = 1,
    seed: int = 0,
    out: str | Path | None = None,
    concurrency: int | None = None,
    budget: Budget | None = None,
    overall_budget: Budget | None = None,
    show_progress: bool | None = None,
) -> Evaluated:
    """Call `program` on every example and score what it gives: `dspy.Evaluate` on ReasonFlow's scheduler.

    devset: examples with their inputs named (`.with_inputs(...)`).
    metric: `metric(example, prediction)`, sync or async, giving a bool, a number or a prediction with a `score`. One
        that raises scores 0, as a call that raises does.
    lm: None: the configured one. samples: runs per example, each with a seed of its own.
    out: a folder to record in. The same call goes on there where it stopped. Of samples recorded earlier the record
        holds the answer: their predictions have the field `answer` and no other.
    concurrency: runs in flight; None: as many as the engine takes.
    budget, overall_budget: of each run, and of all together; see `reasonflow.evals.runner.evaluate`.
    show_progress: on stderr; None: where that is a terminal or a notebook.
    Gives the mean score in percent as `dspy.Evaluate` counts it, and (example, prediction, score) of every sample in
    order. Raises InputError for examples without inputs, BudgetExceeded where the budget allowed no sample, and what
    ends an evaluation: a dead engine, a wrong program.
    """
    examples = {str(index): example for index, example in enumerate(devset)}
    problems = [problem_of_example(id, example) for id, example in examples.items()]
    lm = lm or dspy.settings.lm
    predictions: dict[Key, Any] = {}
    console = Console(stderr=True)
    shown = console.is_terminal or console.is_jupyter if show_progress is None else show_progress
    progress = Progress(console, len(problems) * samples) if shown else None
    audience = progress.audience if progress is not None else Audience()
    with progress or nullcontext():
        evaluation = await run_evaluation(
            program,
            problems,
            lm=lm,
            samples=samples,
            seed=seed,
            out=out,
            concurrency=concurrency,
            budget=budget,
            overall_budget=overall_budget,
            judge=by_metric(metric, examples),
            audience=replace(audience, on_prediction=predictions.__setitem__),
            settings={"metric": _name(metric)},
        )
    found = summarise(evaluation, program=type(program).__name__, benchmark="", model=lm.model, seed=seed)
    return Evaluated(list(_results(examples, predictions, evaluation)), evaluation, found)


def problem_of_example(id: str, example: dspy.Example) -> Problem:
    """An example as the runner takes it. All of it stands in the manifest: another label is another evaluation."""
    inputs = inputs_of(example, f"example {id}")
    answer = example.get("answer")
    return Problem(
        id=id, inputs=inputs, answer="" if answer is None else str(answer), grading={"example": example.toDict()}
    )


def _results(
    examples: Mapping[str, dspy.Example], predictions: Mapping[Key, Any], evaluation: Evaluation
) -> Iterator[tuple[dspy.Example, Any, float]]:
    """As `dspy.Evaluate` lists them: an empty prediction stands for a call that failed."""
    for sample in evaluation.samples:
        answer = {} if sample.answer is None else {"answer": sample.answer}
        yield examples[sample.id], predictions.get(sample.key, dspy.Prediction(**answer)), sample.value


def _name(metric: Metric) -> str:
    """As the manifest knows it."""
    named = metric if hasattr(metric, "__qualname__") else getattr(metric, "func", type(metric))
    return f"{named.__module__}.{named.__qualname__}"


def _results_html(results: Sequence[tuple[dspy.Example, Any, float]]) -> str:
    head = "<tr><th>example</th><th>prediction</th><th>score</th></tr>"
    rows = "".join(
        f"<tr><td>{_short(example.inputs())}</td><td>{_short(prediction)}</td><td>{score:g}</td></tr>"
        for example, prediction, score in results[:_ROWS]
    )
    more = f"<p>and {len(results) - _ROWS} more in <code>.results</code></p>" if len(results) > _ROWS else ""
    return f"<table>{head}{rows}</table>{more}"


def _short(value: Any) -> str:
    """The fields of an example or prediction, in one line of HTML."""
    fields = value.items() if hasattr(value, "items") else [("", value)]
    text = ", ".join(f"{name}: {content}" if name else str(content) for name, content in fields)
    return escape(text if len(text) <= 200 else text[:199] + "…")
