"""What an evaluation found, as figures, a table and JSON."""

from __future__ import annotations

import io
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from html import escape
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from reasonflow.errors import BudgetExceeded
from reasonflow.evals.estimate_error import compared_rows
from reasonflow.evals.judging import FAILED
from reasonflow.evals.runner import Evaluation
from reasonflow.evals.samples import Sample
from reasonflow.evals.statistics import CONFIDENCE, Accuracy, Interval, accuracy

FILE = "results.json"
_WIDTH = 100
"""Columns of the text."""
_UNGRADED = ("not parsed", "timed out", "out of memory", FAILED)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Report:
    """The figures of an evaluation. Means are over samples; None where no sample has the figure."""

    program: str
    benchmark: str
    model: str
    seed: int
    problems: int
    """With at least one sample."""
    samples: int
    """Per problem, at most."""
    runs: int
    planned: int
    """Runs asked for; more than there are where the overall budget ended the evaluation."""
    stopped: str
    """Why runs are missing; empty where none is."""
    graded: bool
    """Whether the accuracy is the mean of a metric's scores rather than a share of right answers."""
    accuracy: Accuracy
    sequential_tokens: float | None
    """Input and output tokens along the critical path (B_seq)."""
    token_latency: float | None
    """Output tokens along the critical path."""
    total_tokens: float | None
    """Input and output tokens of all calls (B_total)."""
    output_tokens: float | None
    cached_share: float | None
    """Share of all prompt tokens that the engine reused."""
    call_wall_s: float
    """Mean seconds of one program call, while others ran beside it."""
    wall_s: float
    """Seconds of the whole evaluation, all sessions, without engine starts."""
    tokens_per_s: float | None
    """Output tokens of all samples over the whole time."""
    errors: int
    """Samples whose call failed; they count as wrong. Those without a budget left for an answer are not among them."""
    ungraded: int
    """Wrong samples whose answer could not be read as mathematics, took too long to compare, or broke the metric."""
    repaired: int
    """Samples in which a text had to be repaired to be read."""
    lost_branches: int
    incomplete: int
    """Samples that are not the whole of what their run could have given: failed or cut."""
    cut: int
    """Samples cut by the budget of their run."""
    cut_answered: int
    """Of these: with an answer."""
    squeezed: int
    """Samples that came to their end with less than their program asks for: a budget left no more."""
    resumed: int
    figures: Mapping[str, Interval] | None = None
    """Of answers in words and of searches: see `searching.figures`."""
    estimate: Mapping[str, Any] | None = None
    """What was predicted against what came, where the folder held an estimate: see `estimate_error.compared`."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, figures flat but for the accuracy."""
        left_out = ("accuracy", "figures")
        figures = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in left_out}
        interval = {
            "accuracy": round(self.accuracy.value, 6),
            "accuracy_low": round(self.accuracy.low, 6),
            "accuracy_high": round(self.accuracy.high, 6),
            "interval": f"{CONFIDENCE:.0%} {self.accuracy.method}",
        }
        rounded = {name: round(value, 4) if isinstance(value, float) else value for name, value in figures.items()}
        more = {name: found.to_json() for name, found in (self.figures or {}).items()}
        return {**rounded, **interval, **({"figures": more} if more else {})}

    def __repr__(self) -> str:
        return as_text(self)

    def __str__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str:
        return as_html(self)


def summarise(
    evaluation: Evaluation,
    *,
    program: str,
    benchmark: str,
    model: str,
    seed: int,
    estimate: Mapping[str, Any] | None = None,
) -> Report:
    """The figures of an evaluation; the names are only shown. estimate: as `estimate_error.compared` gives it.

    Raises BudgetExceeded where the overall budget allowed not a single sample.
    """
    samples = evaluation.samples
    if not samples:
        raise BudgetExceeded(
            "the evaluation has no result",
            why=evaluation.stopped,
            fix="give it a larger overall budget; it goes on then",
        )
    verdicts: dict[str, list[float]] = defaultdict(list)
    for sample in samples:
        verdicts[sample.id].append(sample.value)
    wall_s = evaluation.wall_s
    outputs = [sample.output_tokens for sample in samples if sample.output_tokens is not None]
    return Report(
        program=program,
        benchmark=benchmark,
        model=model,
        seed=seed,
        problems=len(verdicts),
        samples=max(map(len, verdicts.values())),
        runs=len(samples),
        planned=evaluation.planned,
        stopped=evaluation.stopped,
        graded=any(sample.value not in (0.0, 1.0) for sample in samples),
        accuracy=accuracy(list(verdicts.values()), seed=seed),
        sequential_tokens=_mean(sample.sequential_tokens for sample in samples),
        token_latency=_mean(sample.token_latency for sample in samples),
        total_tokens=_mean(sample.total_tokens for sample in samples),
        output_tokens=_mean(outputs),
        cached_share=_cached_share(samples),
        call_wall_s=_mean(sample.wall_s for sample in samples) or 0.0,
        wall_s=wall_s,
        tokens_per_s=sum(outputs) / wall_s if outputs and wall_s else None,
        errors=sum(bool(sample.error) and not sample.cut for sample in samples),
        ungraded=sum(sample.reason.startswith(_UNGRADED) for sample in samples),
        repaired=sum(bool(sample.repairs) for sample in samples),
        lost_branches=sum(len(sample.failures) for sample in samples),
        incomplete=sum(not sample.complete for sample in samples),
        cut=sum(bool(sample.cut) for sample in samples),
        squeezed=sum(sample.squeezed and not sample.cut for sample in samples),
        cut_answered=sum(bool(sample.cut) and not sample.error for sample in samples),
        resumed=evaluation.resumed,
        estimate=estimate,
    )


def write(report: Report, folder: Path) -> Path:
    """Leave the figures in `results.json` of the folder; the path."""
    path = folder / FILE
    path.write_text(json.dumps(report.to_json(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def table(report: Report) -> Table:
    """The figures for people, one a line: terminals are narrower than a dozen columns."""
    shown = Table(title=_title(report), title_justify="left", show_header=False)
    shown.add_column("figure", style="bold")
    shown.add_column("value", justify="right")
    shown.add_column("note", style="dim")
    for row in _rows(report):
        shown.add_row(*row)
    return shown


def as_text(report: Report) -> str:
    """The table as plain text."""
    out = io.StringIO()
    Console(file=out, width=_WIDTH).print(table(report))
    return out.getvalue().rstrip("\n")


def as_html(report: Report) -> str:
    """The table for a notebook."""
    cells = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in _rows(report))
    return f"<table><caption>{escape(_title(report))}</caption>{cells}</table>"


def _title(report: Report) -> str:
    return f"{report.program} on {report.benchmark}" if report.benchmark else report.program


def _rows(report: Report) -> Iterable[tuple[str, str, str]]:
    found = report.accuracy
    runs = f"{report.problems} problems × {report.samples} sample{'s' if report.samples != 1 else ''}"
    yield (
        "mean score" if report.graded else "accuracy",
        f"{found.value:.1%}",
        f"{CONFIDENCE:.0%} interval {found.low:.1%} to {found.high:.1%}, {found.method}",
    )
    yield "runs", str(report.runs), f"{runs}, {report.model}, seed {report.seed}" + _resumed(report)
    if report.stopped:
        yield "partial result", f"{report.runs} of {report.planned}", report.stopped
    yield "sequential tokens", _count(report.sequential_tokens), "mean; input and output along the critical path"
    yield "token latency", _count(report.token_latency), "mean; output along the critical path"
    yield "total tokens", _count(report.total_tokens), "mean; input and output of all calls"
    yield "cached share", _show(report.cached_share, "{:.1%}"), "of prompt tokens"
    rate = "" if report.tokens_per_s is None else f", {report.tokens_per_s:,.0f} output tokens a second"
    yield (
        "wall time",
        f"{report.wall_s:.1f} s",
        f"after the engine's start; {report.call_wall_s:.1f} s a run, side by side{rate}",
    )
    yield "errors", str(report.errors), "runs that failed; they count as wrong"
    yield "repairs", str(report.repaired), "runs with a text that had to be repaired to be read"
    if report.ungraded:
        yield "ungraded", str(report.ungraded), "answers that could not be compared; they count as wrong"
    if report.lost_branches:
        yield "lost branches", str(report.lost_branches), "failed inside runs that went on without them"
    if report.cut:
        runs = f"run{'s' if report.cut > 1 else ''}, {report.cut_answered} of them with an answer"
        yield "cut by the budget", str(report.cut), runs
    if report.squeezed:
        runs = f"run{'s' if report.squeezed > 1 else ''} left with fewer branches, shorter prompts or texts"
        yield "squeezed by the budget", str(report.squeezed), runs
    for name, interval in (report.figures or {}).items():
        yield name.replace("_", " "), f"{interval.value:.3f}", f"{interval.low:.3f} to {interval.high:.3f}"
    if report.estimate is not None:
        yield from compared_rows(report.estimate)


def _resumed(report: Report) -> str:
    return f", {report.resumed} of an earlier session" if report.resumed else ""


def _cached_share(samples: Sequence[Sample]) -> float | None:
    counted = [sample for sample in samples if sample.input_tokens and sample.cached_tokens is not None]
    inputs = sum(sample.input_tokens or 0 for sample in counted)
    return sum(sample.cached_tokens or 0 for sample in counted) / inputs if inputs else None


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _count(value: float | None) -> str:
    return _show(value, "{:,.0f}")


def _show(value: float | None, form: str) -> str:
    shown: Callable[[float], str] = form.format
    return "–" if value is None else shown(value)
