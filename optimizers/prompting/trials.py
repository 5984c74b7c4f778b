"""Runs that an optimizer of DSPy asks for: admitted by the budget, found again in the record, and counted by prompts.

DSPy evaluates by threads that each call the program and wait. Here such a call becomes a run on the engine's own
scheduler as soon as the budget has room for all of it, so a batch of an evaluation is a batch of runs whose branches
are in flight together. A thread does nothing but wait.
"""

from __future__ import annotations

import json
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import dspy

from reasonflow.errors import BudgetExceeded
from reasonflow.language.program import Traced
from reasonflow.optimizers.prompting.candidates import Prompts
from reasonflow.optimizers.prompting.stopped import Stopped
from reasonflow.optimizers.trial_record import ExampleJournal, Result, TrialRecord
from reasonflow.optimizers.trial_runs import repeats
from reasonflow.plan.budget import Budget
from reasonflow.runtime.ambient import surrounded
from reasonflow.runtime.ledger import NOTHING, Amount, Ledger
from reasonflow.runtime.price import Price
from reasonflow.runtime.record import Run
from reasonflow.runtime.spending import Room

SPENT = "the budget is spent"
OVER = "the optimizer has ended"
PERFECT = "no mistake is left on the valset"


@dataclass(slots=True)
class Trial:
    """One set of prompts, as it was sampled."""

    number: int
    prompts: Prompts
    usual: bool
    """Sampled as the program is; not with the temperatures of an optimizer that looks for variety."""
    scores: dict[int, float] = field(default_factory=dict)
    """By example."""

    def mean(self, examples: Sequence[int]) -> float | None:
        """Over these examples; None until it has run on all of them."""
        if not all(example in self.scores for example in examples):
            return None
        return fmean(self.scores[example] for example in examples)


@dataclass(slots=True, eq=False)
class _Seat:
    """One run under way."""

    ledger: Ledger
    journal: ExampleJournal
    room: Room
    replaying: bool
    """There was no room for it: it may find recorded calls and make none."""


class _Phase:
    """A `runtime.ambient.Host`: what threads of DSPy carry along, until it is over."""

    def __init__(self, trials: Trials) -> None:
        self._trials = trials
        self.over = False

    def run(self, traced: Traced, inputs: Mapping[str, Any], start: Callable[[], Any]) -> Any:
        return self._trials.run(self, traced, inputs, start)

    def check(self) -> None:
        """Raise `Stopped` once it is over."""
        if self.over:
            raise Stopped(OVER)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Phase:
        return self  # travels in DSPy's settings, which are copied


class Trials:
    """Starts the runs of DSPy's threads inside `within`. `scored` tells it what a run was worth."""

    def __init__(
        self,
        examples: Sequence[dspy.Example],
        record: TrialRecord,
        price: Price,
        each: Mapping[str, float],
        ledger: Ledger,
    ) -> None:
        """each: what one run takes at most, by name. ledger: of all of it; it remembers what the record holds."""
        self.record, self.price, self._each, self.ledger = record, price, each, ledger
        self.on_score: Callable[[Trial], None] = lambda trial: None
        """Told after every score, in the thread of the run."""
        self.enough: Callable[[], bool] = lambda: False
        """Whether no further run is wanted."""
        self.trials: dict[int, Trial] = {}
        self._numbers = {json.loads(text)["key"]: number for number, text, *_ in record.trials()}
        self._places = {_place(example.inputs().toDict()): place for place, example in enumerate(examples)}
        self._seats: dict[tuple[int, int], _Seat] = {}
        self._runs: weakref.WeakKeyDictionary[Run, tuple[int, int]] = weakref.WeakKeyDictionary()
        self._change = threading.Condition()
        self._room = Room(Budget(), each, price=price, parent=ledger)
        self.stopped = False
        """A run was cut by the budget: from now on only recorded ones come to their end."""
        self.taken = NOTHING
        """By all runs that ended, as if each had made all of its calls itself."""
        self.most_in_flight = 0
        """Runs under way at once, at most."""

    @property
    def room(self) -> Ledger:
        """What the runs of now draw on."""
        return self._room.ledger

    @contextmanager
    def within(self, budget: Budget) -> Iterator[None]:
        """The runs that start inside are started here, and may take no more than this of it all.

        On leaving, all have ended. DSPy's threads go on with what was submitted when an optimizer is ended from within;
        what they still ask for is refused.
        """
        self._room, self.stopped = Room(budget, self._each, price=self.price, parent=self.ledger), False
        phase = _Phase(self)
        try:
            with surrounded(host=phase, ledger=None, journal=None):
                yield
        finally:
            phase.over = True
            with self._change:
                self._change.notify_all()
                while self._seats:
                    self._change.wait()

    # Running ---------------------------------------------------------------------------------------------------------

    def run(self, phase: _Phase, traced: Traced, inputs: Mapping[str, Any], start: Callable[[], Any]) -> Any:
        """What `start()` gives, kept by prompts and example. Raises `Stopped` where the budget has no room for it."""
        if self.enough():
            raise Stopped(PERFECT)
        trial = self._trial(phase, traced)
        place = (trial.number, self._place(inputs))
        seat = self._take(phase, place)
        output: Any = None
        failed: Exception | None = None
        try:
            try:
                with surrounded(host=None, ledger=seat.ledger, journal=seat.journal):
                    output = start()
            except Exception as error:  # a program may raise anything: user code, DSPy's parsers, tools
                failed = error
            run = getattr(output if failed is None else failed, "run", None)
            if isinstance(run, Run):
                self._runs[run] = place
            self._ended(place, seat, run, failed, traced.budget or Budget())
        finally:
            self._leave(place, seat)
        if failed is not None:
            if repeats(failed):
                raise Stopped(f"{type(failed).__name__}: {failed}", failed) from failed
            self._score(trial, place[1], 0.0)
            raise failed
        return output

    def scored(self, prediction: Any, score: float) -> None:
        """What came of the run that gave this prediction."""
        run = getattr(prediction, "run", None)
        found = self._runs.get(run) if isinstance(run, Run) else None
        if found is not None:
            self._score(self.trials[found[0]], found[1], score)

    def _score(self, trial: Trial, example: int, score: float) -> None:
        with self._change:
            trial.scores[example] = score
        self.on_score(trial)

    def _ended(
        self, place: tuple[int, int], seat: _Seat, run: Run | None, failed: Exception | None, own: Budget
    ) -> None:
        """Record what it took. Raises `Stopped` where the budget has cut it: that is no result."""
        paid = NOTHING if seat.replaying else self._paid(seat)
        cut = isinstance(failed, BudgetExceeded) or (run is not None and bool(run.cut or run.squeezed))
        if cut and (seat.replaying or seat.room.is_to_blame(seat.ledger, own)):
            if not seat.replaying:
                self.record.drop(*place, paid)  # texts that were cut short are no results
            with self._change:
                self.stopped = True
                self._change.notify_all()
            raise Stopped(SPENT)
        spent = seat.ledger.spent
        with self._change:
            self.taken += spent
        error = "" if failed is None else f"{type(failed).__name__}: {failed}"
        sequential = 0 if run is None else run.sequential_tokens
        took = Result(score=0.0, sequential=sequential, total=spent.total, calls=spent.calls, error=error)
        self.record.end(*place, took, paid=paid)

    def _paid(self, seat: _Seat) -> Amount:
        """What the run took beyond the calls it found."""
        reused, spent = seat.journal.reused, seat.ledger.spent
        dollars = self.price.of(reused.inputs, reused.outputs)
        return Amount(
            calls=max(0, spent.calls - reused.calls),
            total=max(0, spent.total - reused.inputs - reused.outputs),
            dollars=max(0.0, spent.dollars - dollars),
        )

    # Admitting -------------------------------------------------------------------------------------------------------

    def _take(self, phase: _Phase, place: tuple[int, int]) -> _Seat:
        """A seat for the run, as soon as no equal one is under way: DSPy submits again what has run for two minutes.

        What that one has asked is then found.
        """
        with self._change:
            while True:
                phase.check()
                free = place not in self._seats
                if free and (self.stopped or self._room.fits() or not self._room.running):
                    break
                self._change.wait()
            replaying = self.stopped or not self._room.fits()
            ledger = _closed() if replaying else self._room.begin()
            seat = self._seats[place] = _Seat(ledger, self.record.journal(*place), self._room, replaying)
            self.most_in_flight = max(self.most_in_flight, len(self._seats))
            return seat

    def _leave(self, place: tuple[int, int], seat: _Seat) -> None:
        with self._change:
            del self._seats[place]
            if not seat.replaying:
                seat.room.end(seat.ledger)
            self._change.notify_all()

    # Knowing ---------------------------------------------------------------------------------------------------------

    def _trial(self, phase: _Phase, traced: Traced) -> Trial:
        prompts = Prompts.traced(traced)
        ways = sorted({(bound.lm.kwargs.get("rollout_id"), bound.lm.kwargs.get("temperature"))
                       for bound in traced.bindings.values() if bound.lm is not None}, key=str)  # fmt: skip
        varied = [way for way in ways if way[0] is not None]
        key = f"{prompts.digest} {varied}" if varied else prompts.digest
        with self._change:
            phase.check()
            number = self._numbers.setdefault(key, len(self._numbers))
            if number not in self.trials:
                self.trials[number] = Trial(number, prompts, usual=not varied)
                about = json.dumps({"key": key, "prompts": prompts.to_json()}, default=str)
                self.record.put_trial(number, about, "open")
            return self.trials[number]

    def _place(self, inputs: Mapping[str, Any]) -> int:
        with self._change:
            return self._places.setdefault(_place(inputs), len(self._places))


def _place(inputs: Mapping[str, Any]) -> str:
    return json.dumps(dict(inputs), sort_keys=True, default=str)


def _closed() -> Ledger:
    """Of a run that may only find what is recorded: no call has room in it, and no clock runs."""
    above = Ledger(Budget(calls=1), remembers=True)
    above.spent = Amount(calls=1)
    return Ledger(Budget(), above)
