"""The search, acted out: it asks for a setting, races it over the examples, tells what came of it, and asks again."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import Literal, TypeAlias

from reasonflow.errors import InputError, ProgramError
from reasonflow.language.choices import freeze
from reasonflow.language.program import Program
from reasonflow.optimizers.compile_data import check_varied
from reasonflow.optimizers.front import Front, Point, interval
from reasonflow.optimizers.topology import racing
from reasonflow.optimizers.topology.search import History, Told, TopologySearch, Trial, Values
from reasonflow.optimizers.topology.space import Settings, shown, spell, with_settings
from reasonflow.optimizers.trial_record import Result
from reasonflow.optimizers.trial_runs import Runs
from reasonflow.runtime.ledger import Amount

State: TypeAlias = Literal["open", "finished", "dropped", "refused"]
"""Of a trial: under way, measured on all examples, dominated and given up, or not possible for the program."""

_SHARE = 0.25
"""Of the whole budget, that one setting may take while cheaper ones are left: a front needs several points."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A trial after a block of examples."""

    trial: Trial
    state: State
    done: int
    """Examples it has run on."""
    accuracy: float | None
    """On those; None where it ran on none."""
    sequential: float
    total: float
    reason: str
    """Why it was given up or refused."""
    spent: Amount
    """By the whole compile."""


class Tuning:
    """One search over one program. `run` ends when nothing more can be tried; `front` is what is known by then."""

    def __init__(
        self,
        program: Program,
        search: TopologySearch,
        runs: Runs,
        *,
        trusted: bool,
        on_step: Callable[[Step], None],
        alpha: float = racing.ALPHA,
    ) -> None:
        """trusted: the metric was seen to tell answers apart. on_step: told after every block.

        alpha: of the race; 0: every trial is measured whole.
        """
        self.program, self.search, self.runs, self.trusted, self.on_step = program, search, runs, trusted, on_step
        self.alpha = alpha
        self.ends = racing.blocks(len(runs.examples))
        self.whole: dict[int, list[racing.Row]] = {}
        """Of the trials that ran on all examples, what they gave."""
        self.history: History = ()
        self._taken = 0
        """Calls that the trials so far consist of, those that were found among them."""
        self.calls_known: dict[str, int | None] = {}
        """That one run can make, by setting; None where the program refuses it."""

    async def run(self) -> str:
        """Try settings until none is left or allowed; returns why it ended. Goes on from what the record holds."""
        for trial in self._recorded():
            if not await self._try(trial):
                return "the budget is spent"
        while True:
            asked = self._ask()
            if asked is None:
                tried = sum(told.values is not None for told in self.history)
                everything = tried and len(self.history) >= self.search.space.size
                return "every setting was tried" if everything else "the budget has no room for another setting"
            self.runs.record.put_trial(asked.number, json.dumps(asked.settings), "open")
            if not await self._try(asked):
                return "the budget is spent"

    def front(self) -> Front:
        """Of the trials that were measured whole."""
        settings = {told.trial.number: told.trial.settings for told in self.history}
        return Front.among(point_of(number, settings[number], rows) for number, rows in self.whole.items())

    def most_calls(self, settings: Settings) -> int | None:
        """Calls of one run at most; None where the program refuses the settings."""
        key = spell(settings)
        if key not in self.calls_known:
            try:
                self.calls_known[key] = with_settings(self.program, settings).explain().bound.calls
            except (InputError, ProgramError):
                self.calls_known[key] = None
        return self.calls_known[key]

    # Asking ----------------------------------------------------------------------------------------------------------

    def _ask(self) -> Trial | None:
        # Last of all what fits if as many of its calls are known already as of the trials so far. If not, it stays
        # open when the budget ends, and a larger budget goes on with it.
        new = min(1.0, self.runs.ledger.spent.calls / self._taken) if self._taken else 1.0
        for share, rate in ((_SHARE, 1.0), (1.0, 1.0), (1.0, new)):
            trial = self.search.ask(self.history, partial(self._fits, share=share, rate=rate), self.most_calls)
            if trial is not None:
                return trial
        return None

    def _fits(self, settings: Settings, *, share: float, rate: float) -> bool:
        """Whether measuring it whole takes no more than is left, and no more than this share of all.

        rate: the part of its calls that have to be made.
        """
        calls = self.most_calls(settings)
        if calls is None:
            return True  # refusing it costs nothing, and the search should know
        needed = self._needed(math.ceil(rate * calls * len(self.runs.examples)))
        ledger = self.runs.ledger
        limits = ledger.budget.limits
        return ledger.seconds_left(self.runs.price.hour) > 0 and all(
            needed[name] <= min(ledger.room(name), share * limits.get(name, float("inf"))) for name in needed
        )

    def _needed(self, calls: int) -> Mapping[str, float]:
        """What so many calls will take, at the size of those so far."""
        spent = self.runs.ledger.spent
        if not spent.calls:
            return {"calls": calls}
        return {
            "calls": calls,
            "total": calls * spent.total / spent.calls,
            "dollars": calls * spent.dollars / spent.calls,
        }

    def _recorded(self) -> Iterator[Trial]:
        """Trials of earlier sessions: told to the search, or given back where they are to be gone on with."""
        for number, text, state, reason in self.runs.record.trials():
            settings = {name: freeze(value) for name, value in json.loads(text).items()}
            trial = Trial(number, settings)
            if state == "open":
                yield trial
            elif state == "refused":
                self._end(trial, "refused", reason, None)
            else:
                self._end(trial, "finished" if state == "finished" else "dropped", reason, self._rows(number))

    # Trying ----------------------------------------------------------------------------------------------------------

    async def _try(self, trial: Trial) -> bool:
        """Race it; False where the budget did not last. Raises what ends a compile."""
        if self.most_calls(trial.settings) is None:
            self._close(trial, "refused", "the program cannot be set so", None)
            return True
        program = with_settings(self.program, trial.settings)
        for look, end in enumerate(self.ends):
            first = trial.number == 0 and look == 0
            if not await self.runs.block(program, trial.number, range(end), strict=first):
                return False
            rows = self._rows(trial.number)
            if first and not self.trusted:
                check_varied([row.score for row in rows], f"first {len(rows)} examples", "one setting against another")
            if end == self.ends[-1]:
                break
            numbers = list(self.whole)
            better = racing.dominator(rows, list(self.whole.values()), looks=len(self.ends) - 1, alpha=self.alpha)
            if better is not None:
                self._close(trial, "dropped", f"dominated by trial {numbers[better]} after {end} examples", rows)
                return True
            self._step(trial, "open", "", rows)
        self._close(trial, "finished", "", rows)
        return True

    def _close(self, trial: Trial, state: State, reason: str, rows: list[racing.Row] | None) -> None:
        self.runs.record.put_trial(trial.number, json.dumps(trial.settings), state, reason)
        self._end(trial, state, reason, rows)
        self._step(trial, state, reason, rows or [])

    def _end(self, trial: Trial, state: State, reason: str, rows: list[racing.Row] | None) -> None:
        self._taken += sum(result.calls for result in self.runs.record.results(trial.number).values())
        if state == "finished" and rows is not None:
            self.whole[trial.number] = rows
        values = None if rows is None else self._values(rows)
        self.history = self.search.tell(self.history, Told(trial, values))

    def _values(self, rows: list[racing.Row]) -> Values:
        """The means over all examples; of a trial that was given up, as far as those who ran on all of them tell.

        The examples it has seen may be easy ones: they are where the others did better or worse on them than on all.
        """
        seen = len(rows)
        shift = [
            fmean(row.score for row in other) - fmean(row.score for row in other[:seen])
            for other in self.whole.values()
            if seen < len(other)
        ]
        return Values(
            accuracy=fmean(row.score for row in rows) + (fmean(shift) if shift else 0.0),
            sequential=fmean(row.sequential for row in rows),
            total=fmean(row.total for row in rows),
        )

    def _rows(self, trial: int) -> list[racing.Row]:
        """In the order of the examples, as far as there is no gap."""
        results: dict[int, Result] = self.runs.record.results(trial)
        found = []
        for place in range(len(self.runs.examples)):
            if place not in results:
                break
            result = results[place]
            found.append(racing.Row(result.score, result.sequential, result.total))
        return found

    def _step(self, trial: Trial, state: State, reason: str, rows: list[racing.Row]) -> None:
        self.on_step(
            Step(
                trial=trial,
                state=state,
                done=len(rows),
                accuracy=fmean(row.score for row in rows) if rows else None,
                sequential=fmean(row.sequential for row in rows) if rows else 0.0,
                total=fmean(row.total for row in rows) if rows else 0.0,
                reason=reason,
                spent=self.runs.ledger.spent,
            )
        )


def point_of(number: int, settings: Settings, rows: list[racing.Row]) -> Point:
    """A trial that was measured whole, as a point."""
    scores = [row.score for row in rows]
    low, high = interval(scores)
    return Point(
        trial=number,
        settings=settings,
        accuracy=fmean(scores),
        low=low,
        high=high,
        sequential=fmean(row.sequential for row in rows),
        total=fmean(row.total for row in rows),
        problems=len(rows),
    )


def line(step: Step, problems: int) -> str:
    """A step in one line."""
    head = f"trial {step.trial.number}: {shown(step.trial.settings)}"
    if step.accuracy is None:
        return f"{head}: {step.reason}"
    figures = f"{step.accuracy:.3f} on {step.done} of {problems}, {step.sequential:,.0f} sequential"
    figures += f", {step.total:,.0f} total tokens a run"
    said = f"; {step.reason}" if step.reason else ""
    return f"{head}: {figures}{said} ({step.spent.calls:,} calls spent)"
