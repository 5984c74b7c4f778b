"""How long a fan-out takes on an engine that answers every branch after the same time: wall time over that time.

The engine takes any number of branches at once, so the ideal is its own latency; what is above it is time that branches
wait for one another. All arms ask one question N times, alternating within one run, after a warm-up.

`asyncio` is the strongest simple alternative, by hand over the same engine. `dspy` is `acall` gathered on one loop,
`dspy_threads` is `dspy.Parallel` with a thread a branch, both over engines of DSPy's contract that do nothing but wait.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from reasonflow.errors import InputError
from reasonflow.evals.performance.arms import Arm, by_hand, dspy_async, dspy_sync, ours, ours_distinct
from reasonflow.evals.performance.report import UNKNOWN, Provenance, Report, Table, provenance, rounded_range

WIDTHS = (64, 256, 1024)
LATENCY_S = 0.2
REPEATS = 5
_OPENED: dict[str, Arm] = {
    "ours": ours,
    "ours_distinct": ours_distinct,
    "asyncio": by_hand,
    "dspy": dspy_async,
    "dspy_threads": dspy_sync,
}
ARMS = tuple(_OPENED)


@dataclass(frozen=True, slots=True, kw_only=True)
class FanOuts:
    """All arms of one run, with what is needed to run it again."""

    wall_s: dict[tuple[str, int], tuple[float, ...]]
    """By arm and width, one number per repeat."""
    latency_s: float
    """Of the engine: the ideal."""
    repeats: int
    provenance: Provenance = UNKNOWN

    def over_ideal(self, arm: str, width: int) -> tuple[float, float, float]:
        """Median, least and most of the repeats."""
        ratios = [wall / self.latency_s for wall in self.wall_s[arm, width]]
        return statistics.median(ratios), min(ratios), max(ratios)

    def figures(self) -> dict[str, float]:
        """`ours_over_ideal_256` and its like: wall time over the engine's latency, by arm and width."""
        return {f"{arm}_over_ideal_{width}": round(self.over_ideal(arm, width)[0], 4) for arm, width in self.wall_s}

    def report(self) -> Report:
        spread = {key: rounded_range(self.over_ideal(*key), 4) for key in self.wall_s}
        return Report(
            benchmark="fanout",
            unit=f"wall time over the engine's latency of {self.latency_s:g} s, median",
            figures=self.figures(),
            spread={f"{arm}_over_ideal_{width}": found for (arm, width), found in spread.items()},
            tables=(self._table(),),
            repeats=self.repeats,
            provenance=self.provenance,
        )

    def _table(self) -> Table:
        arms = tuple(dict.fromkeys(arm for arm, _ in self.wall_s))
        rows = []
        for width in dict.fromkeys(width for _, width in self.wall_s):
            found = [self.over_ideal(arm, width) for arm in arms]
            cells = [f"{middle:.2f} ({least:.2f} to {most:.2f})" for middle, least, most in found]
            rows.append((str(width), *cells))
        title = f"Wall time over the engine's {self.latency_s:g} s: median (least to most)"
        return Table(title=title, columns=("branches", *arms), rows=tuple(rows))


def measure_fanout(widths: Sequence[int] = WIDTHS, repeats: int = REPEATS, *, latency_s: float = LATENCY_S) -> FanOuts:
    """Measure every arm at every width; takes about a minute at the defaults. Raises InputError for numbers below 1."""
    if repeats < 1 or not widths or min(widths) < 1 or latency_s <= 0:
        raise InputError(
            f"cannot measure widths {tuple(widths)} in {repeats} repeats at {latency_s:g} s",
            fix="give numbers from 1 up, and a latency above 0",
        )
    found: dict[tuple[str, int], list[float]] = {}
    with ExitStack() as stack:
        opened = {arm: stack.enter_context(_OPENED[arm](latency_s, max(widths))) for arm in ARMS}
        for fan_out in opened.values():
            fan_out(min(widths))
        for width in widths:
            for _ in range(repeats):
                for arm, fan_out in opened.items():
                    gc.collect()  # otherwise one arm pays for what another left behind
                    began = time.perf_counter()
                    fan_out(width)
                    found.setdefault((arm, width), []).append(time.perf_counter() - began)
    return FanOuts(
        wall_s={key: tuple(walls) for key, walls in found.items()},
        latency_s=latency_s,
        repeats=repeats,
        provenance=provenance(("reasonflow", "dspy", "anyio")),
    )
