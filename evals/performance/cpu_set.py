"""The benchmarks that need no GPU, one after the other; those on an engine share one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import dspy

from reasonflow.evals.performance.cancel import measure_cancel
from reasonflow.evals.performance.conditions import start
from reasonflow.evals.performance.fanout import measure_fanout
from reasonflow.evals.performance.http import measure_http
from reasonflow.evals.performance.latency import measure_latency
from reasonflow.evals.performance.overhead import measure_overhead
from reasonflow.evals.performance.prefix import measure_prefix
from reasonflow.evals.performance.pressure import measure_pressure
from reasonflow.evals.performance.report import Report

Measure: TypeAlias = Callable[[dspy.LM], Report]
WITHOUT_ENGINE: Mapping[str, Measure] = {
    "overhead": lambda _: measure_overhead(repeats=5).report(),
    "fanout": lambda _: measure_fanout(repeats=5).report(),
    "http": lambda _: measure_http(repeats=5).report(),
}
ON_THE_ENGINE: Mapping[str, Measure] = {
    "prefix": lambda lm: measure_prefix(lm).report(),
    "pressure": lambda lm: measure_pressure(lm).report(),
    "latency": lambda lm: measure_latency(lm).report(),
    "cancel": lambda lm: measure_cancel(lm, repeats=2).report(),
}
"""Each within a minute of two cores that have nothing else to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuSet:
    """All reports of one run."""

    reports: Mapping[str, Report]
    """By benchmark, in the order in which they ran."""
    seconds: Mapping[str, float]
    """How long each took; the engine's start is `engine_start`."""

    def figures(self) -> dict[str, float]:
        """Flat: `prefix.shared_share` and its like."""
        return {
            f"{name}.{figure}": value
            for name, report in self.reports.items()
            for figure, value in report.figures.items()
        }

    def to_json(self) -> dict[str, Any]:
        return {
            "benchmark": "cpu",
            "figures": self.figures(),
            "seconds": {name: round(seconds, 1) for name, seconds in self.seconds.items()},
            "benchmarks": {name: report.to_json() for name, report in self.reports.items()},
        }


def measure_cpu(lm: dspy.LM, say: Callable[[str], None]) -> CpuSet:
    """Measure all of them on `lm`, one of ours. From the main thread. say: told what comes, and how long it took."""
    reports: dict[str, Report] = {}
    seconds: dict[str, float] = {}
    # Without the engine first: it would share the cores with what is measured there.
    for name, measure in WITHOUT_ENGINE.items():
        with _timed(name, seconds, say):
            reports[name] = measure(lm)
    with _timed("engine_start", seconds, say):
        start(lm)
    for name, measure in ON_THE_ENGINE.items():
        with _timed(name, seconds, say):
            reports[name] = measure(lm)
    return CpuSet(reports=reports, seconds=seconds)


@contextmanager
def _timed(name: str, seconds: dict[str, float], say: Callable[[str], None]) -> Iterator[None]:
    say(f"{name} ...")
    began = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - began
    say(f"{name}: {seconds[name]:.0f} s")
