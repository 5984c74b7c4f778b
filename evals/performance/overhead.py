"""What a branch costs before any model: CPU time per branch of a fan-out on engines that do nothing.

Every arm asks one question N times and reads N answers: rendering, dispatch and parsing are done, only generation is
free. The arms alternate within one run, after a warm-up. CPU time is the whole process's, all threads included; wall
time is reported beside it.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from reasonflow.errors import InputError
from reasonflow.evals.performance.arms import Arm, FanOut, dspy_async, dspy_sync, ours, ours_distinct
from reasonflow.evals.performance.report import UNKNOWN, Provenance, Report, Table, provenance, rounded_range

WIDTHS = (1, 8, 64, 256)
REPEATS = 7

_BRANCHES_PER_SAMPLE = 256
"""A sample repeats narrow fan-outs until it holds so many branches: the clock's steps must not show."""
_ARMS: dict[str, Arm] = {
    "ours": ours,
    "ours_distinct": ours_distinct,
    "dspy_sync": dspy_sync,
    "dspy_async": dspy_async,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One arm at one width. Milliseconds per branch."""

    arm: str
    width: int
    cpu_ms: float
    """Median of the repeats."""
    cpu_ms_range: tuple[float, float]
    """Least and most of the repeats."""
    wall_ms: float
    """Median of the repeats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overhead:
    """All arms of one run, with what is needed to run it again."""

    measurements: tuple[Measurement, ...]
    repeats: int
    provenance: Provenance = UNKNOWN

    def figures(self) -> dict[str, float]:
        """`ours_ms_64` and its like: CPU milliseconds per branch, by arm and width."""
        return {f"{m.arm}_ms_{m.width}": round(m.cpu_ms, 4) for m in self.measurements}

    def of(self, arm: str, width: int) -> Measurement:
        return next(m for m in self.measurements if (m.arm, m.width) == (arm, width))

    def report(self) -> Report:
        spread = {f"{m.arm}_ms_{m.width}": rounded_range(m.cpu_ms_range, 4) for m in self.measurements}
        return Report(
            benchmark="overhead",
            unit="CPU milliseconds per branch, median",
            figures=self.figures(),
            spread=spread,
            tables=(self._table(),),
            repeats=self.repeats,
            details={"wall_ms": {f"{m.arm}_ms_{m.width}": round(m.wall_ms, 4) for m in self.measurements}},
            provenance=self.provenance,
        )

    def _table(self) -> Table:
        arms = tuple(dict.fromkeys(m.arm for m in self.measurements))
        return Table(
            title="CPU ms per branch: median (least to most)",
            columns=("branches", *arms, "ours / best of DSPy"),
            rows=tuple(self._row(arms, width) for width in dict.fromkeys(m.width for m in self.measurements)),
        )

    def _row(self, arms: Sequence[str], width: int) -> tuple[str, ...]:
        found = [self.of(arm, width) for arm in arms]
        cells = [f"{m.cpu_ms:.3f} ({m.cpu_ms_range[0]:.3f} to {m.cpu_ms_range[1]:.3f})" for m in found]
        best = min(m.cpu_ms for m in found if m.arm.startswith("dspy"))
        return (str(width), *cells, f"{self.of('ours', width).cpu_ms / best:.2f}")


def measure_overhead(widths: Sequence[int] = WIDTHS, repeats: int = REPEATS) -> Overhead:
    """Measure every arm at every width; takes about a minute at the defaults. Raises InputError for numbers below 1."""
    if repeats < 1 or not widths or min(widths) < 1:
        raise InputError(f"cannot measure widths {tuple(widths)} in {repeats} repeats", fix="give numbers from 1 up")
    samples: dict[tuple[str, int], list[tuple[float, float]]] = {}
    with ExitStack() as stack:
        arms = {name: stack.enter_context(arm(None, max(widths))) for name, arm in _ARMS.items()}
        for width in widths:
            for fan_out in arms.values():
                fan_out(width)
        for _ in range(repeats):
            for width in widths:
                for arm, fan_out in arms.items():
                    samples.setdefault((arm, width), []).append(_sample(fan_out, width))
    return Overhead(
        measurements=tuple(_summary(arm, width, pairs) for (arm, width), pairs in samples.items()),
        repeats=repeats,
        provenance=provenance(("reasonflow", "dspy", "anyio", "pydantic")),
    )


def _sample(fan_out: FanOut, width: int) -> tuple[float, float]:
    """(CPU, wall) milliseconds per branch."""
    rounds = max(1, _BRANCHES_PER_SAMPLE // width)
    gc.collect()  # otherwise one arm pays for what another left behind
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    for _ in range(rounds):
        fan_out(width)
    cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
    branches = rounds * width
    return 1000 * cpu_s / branches, 1000 * wall_s / branches


def _summary(arm: str, width: int, pairs: Sequence[tuple[float, float]]) -> Measurement:
    cpu = [pair[0] for pair in pairs]
    return Measurement(
        arm=arm,
        width=width,
        cpu_ms=statistics.median(cpu),
        cpu_ms_range=(min(cpu), max(cpu)),
        wall_ms=statistics.median(pair[1] for pair in pairs),
    )
