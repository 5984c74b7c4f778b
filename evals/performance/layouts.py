"""Quality beside speed: one program in every layout of its prompts, on the same problems with the same seeds.

A layout that saves prefill and loses answers is no saving. Accuracies are compared problem by problem, against DSPy's
own layout, with an interval; beside them stand the prompt tokens computed and reused, and the time. Every layout begins
with an empty cache on one engine.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio
import dspy

import reasonflow as rf
from reasonflow.evals.dataset import Problem
from reasonflow.evals.performance.conditions import forget, start
from reasonflow.evals.performance.report import ENGINE_PACKAGES, UNKNOWN, Provenance, Report, Table, provenance
from reasonflow.evals.runner import Evaluation, evaluate
from reasonflow.evals.statistics import Accuracy, Interval, accuracy, paired_difference
from reasonflow.prompts.layouts import Order

LAYOUTS: tuple[Order, ...] = ("dspy", "shared", "auto")
"""The first is what the others are compared with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layouts:
    """One evaluation for each layout."""

    evaluations: dict[str, Evaluation]
    problems: int
    samples: int
    """Of each problem."""
    seed: int
    program: str
    provenance: Provenance = UNKNOWN

    def accuracy(self, layout: str) -> Accuracy:
        return accuracy(self._verdicts(layout))

    def difference(self, layout: str) -> Interval:
        """How much more accurate it is than DSPy's layout on the same problems."""
        return paired_difference(self._verdicts(layout), self._verdicts(LAYOUTS[0]))

    def computed(self, layout: str) -> int:
        """Prompt tokens that the engine computed."""
        return self._inputs(layout) - self.cached(layout)

    def cached(self, layout: str) -> int:
        return sum(sample.cached_tokens or 0 for sample in self.evaluations[layout].samples)

    def _inputs(self, layout: str) -> int:
        return sum(sample.input_tokens or 0 for sample in self.evaluations[layout].samples)

    def _verdicts(self, layout: str) -> list[list[float]]:
        """(problems, samples)."""
        found: dict[str, list[float]] = {}
        for sample in self.evaluations[layout].samples:
            found.setdefault(sample.id, []).append(float(sample.correct))
        return list(found.values())

    def figures(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for layout in LAYOUTS:
            found[f"{layout}_accuracy"] = round(self.accuracy(layout).value, 4)
            found[f"{layout}_computed"] = self.computed(layout)
            found[f"{layout}_cached"] = self.cached(layout)
            found[f"{layout}_s"] = round(self.evaluations[layout].wall_s, 2)
        for layout in LAYOUTS[1:]:
            difference = self.difference(layout)
            found[f"{layout}_minus_dspy"] = round(difference.value, 4)
            found[f"{layout}_minus_dspy_low"] = round(difference.low, 4)
            found[f"{layout}_minus_dspy_high"] = round(difference.high, 4)
        return found

    def report(self) -> Report:
        accuracies = {layout: self.accuracy(layout) for layout in LAYOUTS}
        return Report(
            benchmark="layouts",
            unit="share of right answers; prompt tokens; seconds; differences on the same problems, 95 % interval",
            figures=self.figures(),
            spread={f"{layout}_accuracy": [round(a.low, 4), round(a.high, 4)] for layout, a in accuracies.items()},
            tables=(self._table(),),
            repeats=1,
            details={
                "program": self.program,
                "problems": self.problems,
                "samples": self.samples,
                "seed": self.seed,
                "failed": {name: sum(bool(s.error) for s in e.samples) for name, e in self.evaluations.items()},
            },
            provenance=self.provenance,
        )

    def _table(self) -> Table:
        rows = []
        for layout in LAYOUTS:
            right, least = self.accuracy(layout), "–"
            if layout != LAYOUTS[0]:
                gain = self.difference(layout)
                least = f"{100 * gain.value:+.1f} ({100 * gain.low:+.1f} to {100 * gain.high:+.1f})"
            rows.append(
                (
                    layout,
                    f"{100 * right.value:.1f} ({100 * right.low:.1f} to {100 * right.high:.1f})",
                    least,
                    str(self.computed(layout)),
                    str(self.cached(layout)),
                    f"{self.evaluations[layout].wall_s:.1f}",
                )
            )
        columns = ("layout", "% right", "points over dspy", "tokens computed", "tokens cached", "s")
        title = f"{self.program} on {self.problems} problems × {self.samples} samples, seed {self.seed}"
        return Table(title=title, columns=columns, rows=tuple(rows))


def measure_layouts(
    program: rf.Program,
    problems: Sequence[Problem],
    lm: dspy.LM,
    *,
    samples: int = 1,
    seed: int = 0,
    name: str = "",
    out: Path | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Layouts:
    """Evaluate the program in every layout. say: told before each what comes, and what came of it.

    out: a folder for the record of each evaluation; the same call goes on there where it was stopped, and its seconds
    are those of the last session. A call site with a layout of its own keeps it. Raises what `evaluate` raises.
    """
    start(lm)
    found: dict[str, Evaluation] = {}
    for layout in LAYOUTS:
        say(f"{layout} ...")
        laid_out = copy.deepcopy(program)
        laid_out.layout = layout
        forget(lm)
        folder = None if out is None else out / layout
        found[layout] = anyio.run(_evaluated, laid_out, problems, lm, samples, seed, folder)
        right = sum(sample.correct for sample in found[layout].samples)
        say(f"{layout}: {right} of {len(found[layout].samples)} right, {found[layout].wall_s:.0f} s")
    return Layouts(
        evaluations=found,
        problems=len(problems),
        samples=samples,
        seed=seed,
        program=name or type(program).__name__,
        provenance=provenance((*ENGINE_PACKAGES, "math-verify"), lm),
    )


async def _evaluated(
    program: rf.Program, problems: Sequence[Problem], lm: dspy.LM, samples: int, seed: int, out: Path | None
) -> Evaluation:
    return await evaluate(program, problems, lm=lm, samples=samples, seed=seed, out=out)
