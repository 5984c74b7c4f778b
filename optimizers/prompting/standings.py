"""Which prompts did best so far on the whole valset."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reasonflow.language.program import Program
from reasonflow.optimizers.front import interval
from reasonflow.optimizers.prompting.candidates import Prompts
from reasonflow.optimizers.prompting.trials import Trial, Trials
from reasonflow.runtime.ledger import Amount

_SEEN = 0.5
"""Of the examples that the most looked at ran on, what another must have seen to count as promising."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptStep:
    """A set of prompts that has been measured on the whole valset."""

    number: int
    """0 is the program as it was."""
    changed: tuple[str, ...]
    """What is new in it."""
    accuracy: float
    best: float
    """So far, this one included."""
    spent: Amount


class Standings:
    """Told of every score; the first whole measurement is that of the program as it is."""

    def __init__(
        self,
        program: Program,
        examples: int,
        trials: Trials,
        *,
        on_step: Callable[[PromptStep, Program], None],
        report: Callable[[Trials, int, Sequence[Mapping[str, Any]], str], Mapping[str, Any]],
    ) -> None:
        """examples: of the valset, which are the first ones of the trials. on_step: told of what was measured whole.

        report: of (trials, the chosen one, all that were measured, why it ended).
        """
        self._program, self._trials, self._on_step, self._report = program, trials, on_step, report
        self._before = Prompts.of(program)
        self._examples = range(examples)
        self._whole: dict[int, float] = {}
        """Means by number, in the order in which they were known."""
        self._lock = threading.RLock()

    @property
    def count(self) -> int:
        """Prompts that were measured whole, the program's own among them."""
        return len(self._whole)

    def see(self, trial: Trial) -> None:
        """A score of it is new."""
        with self._lock:
            if not trial.usual or trial.number in self._whole:
                return
            mean = trial.mean(self._examples)
            if mean is None:
                return
            self._whole[trial.number] = mean
            step = PromptStep(
                number=trial.number,
                changed=trial.prompts.changed(self._before),
                accuracy=mean,
                best=max(self._whole.values()),
                spent=self._trials.ledger.spent,
            )
            self._on_step(step, self.program("under way"))

    def scores(self) -> list[float]:
        """Of the program as it is, by example of the valset."""
        base = self._trials.trials[next(iter(self._whole))]
        return [base.scores[example] for example in self._examples]

    def perfect(self) -> bool:
        """Whether one of them made no mistake."""
        return any(
            all(self._trials.trials[number].scores[example] == 1 for example in self._examples)
            for number in list(self._whole)
        )

    def promising(self) -> Program | None:
        """The program with the prompts that look best of those not measured whole; None where none looks better.

        By the low end of the interval of their scores, so that few lucky ones do not win.
        """
        found = [trial for trial in self._trials.trials.values() if trial.usual and trial.number not in self._whole]
        most = max((len(trial.scores) for trial in found), default=0)
        seen = [trial for trial in found if len(trial.scores) >= max(2.0, _SEEN * most)]
        best = max(seen, key=lambda trial: interval(list(trial.scores.values()))[0], default=None)
        return None if best is None else best.prompts.to(self._program)

    def program(self, stopped: str) -> Program:
        """The program with the best prompts, the earlier among equals, and the report."""
        with self._lock:
            best = max(self._whole, key=lambda number: self._whole[number])
            compiled = self._trials.trials[best].prompts.to(self._program)
            compiled.compile_report = self._report(self._trials, best, self._rows(), stopped)
            return compiled

    def _rows(self) -> list[dict[str, Any]]:
        rows = []
        for number, mean in self._whole.items():
            trial = self._trials.trials[number]
            low, high = interval([trial.scores[example] for example in self._examples])
            rows.append(
                {
                    "number": number,
                    "changed": list(trial.prompts.changed(self._before)),
                    "accuracy": mean,
                    "low": low,
                    "high": high,
                    "problems": len(self._examples),
                    "prompts": trial.prompts.to_json(),
                }
            )
        return rows


def line(step: PromptStep, problems: int) -> str:
    """A step in one line."""
    what = "; ".join(step.changed) or "the program as it is"
    figures = f"{step.accuracy:.3f} on {problems}, best {step.best:.3f}"
    return f"prompts {step.number}: {what}: {figures} ({step.spent.calls:,} calls spent)"
