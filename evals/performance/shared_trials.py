"""Runs that several searches ask for, made once: each search is charged for its own calls as if it were alone.

All searches meet the same problems with the same seeds, so a setting gives each of them the same runs. They are made on
the engine when the first one asks. A search pays for every call of a run but those that it has met before: what
`rf.compile` pays.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import dspy

import reasonflow as rf
from reasonflow.backends.protocol import Completion
from reasonflow.optimizers.compile_data import examples_digest
from reasonflow.optimizers.topology.space import Settings, Space, current, spell, with_settings
from reasonflow.optimizers.trial_record import ExampleJournal, Result, TrialRecord
from reasonflow.optimizers.trial_runs import Metric, Runs
from reasonflow.plan.budget import Budget
from reasonflow.runtime.ledger import Amount, Ledger
from reasonflow.runtime.price import FREE_OF_CHARGE

_SESSION = 1_000_000
"""Numbers of trials that each session has for itself."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run of one setting."""

    result: Result
    calls: Mapping[str, int]
    """Tokens of each of its calls, by its key."""


class SharedTrials:
    """The runs of a program's settings over some examples, each made when it is first asked for."""

    def __init__(
        self,
        program: rf.Program,
        space: Space,
        examples: Sequence[dspy.Example],
        metric: Metric,
        lm: dspy.LM,
        *,
        seed: int,
        file: Path | None = None,
    ) -> None:
        """file: keeps all calls: a stopped measurement goes on where it was. Raises InputError for another one's."""
        self.program, self.space, self.lm, self.seed = program, space, lm, seed
        where = ":memory:" if file is None else str(file)
        self._record = _Logging(sqlite3.connect(where, timeout=1, check_same_thread=False), where)
        about = {"examples": examples_digest(examples), "model": dict(lm.engine.runtime.identity), "seed": seed}
        self._record.open(about)
        self.runs = Runs(
            examples=examples,
            metric=metric,
            lm=lm,
            seed=seed,
            ledger=Ledger(Budget()),
            price=FREE_OF_CHARGE,
            record=self._record,
            concurrency=lm.engine.runtime.backend.max_running,
        )
        self._numbers: dict[str, int] = {}
        self._known: dict[tuple[str, int], Outcome] = {}

    @property
    def spent(self) -> Amount:
        """On the engine, for all that asked, in all sessions."""
        return self._record.spent(FREE_OF_CHARGE)

    def close(self) -> None:
        """Let go of the file."""
        self._record.close()

    async def outcomes(self, settings: Settings, wanted: Sequence[int]) -> list[Outcome]:
        """The runs of a setting on these examples."""
        key = spell(settings)
        missing = [example for example in wanted if (key, example) not in self._known]
        if missing:
            # A number of this session's: earlier ones left calls, and not which of them a run is made of.
            number = self._numbers.setdefault(key, self._record.session * _SESSION + len(self._numbers))
            await self.runs.block(with_settings(self.program, settings), number, missing, strict=True)
            results = self._record.results(number)
            for example in missing:
                self._known[key, example] = Outcome(results[example], self._record.made_of.pop((number, example), {}))
        return [self._known[key, example] for example in wanted]

    def charged(self, budget: Budget) -> ChargedRuns:
        """What a search runs its trials by, with a budget of its own."""
        record = TrialRecord(sqlite3.connect(":memory:", check_same_thread=False), "a search's record")
        record.open({})
        return ChargedRuns(
            examples=self.runs.examples,
            metric=self.runs.metric,
            lm=self.lm,
            seed=self.seed,
            ledger=Ledger(budget),
            price=FREE_OF_CHARGE,
            record=record,
            concurrency=1,
            trials=self,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargedRuns(Runs):
    """`Runs` whose trials are taken from what is shared."""

    trials: SharedTrials
    met: set[tuple[int, str]] = field(default_factory=set)
    """Calls that this search has paid for: (example, key)."""

    async def block(self, program: rf.Program, trial: int, wanted: Sequence[int], *, strict: bool) -> bool:
        """As `Runs.block`: False where the budget has no room for another run, however few calls it would make."""
        done, most = self.record.results(trial), program.explain().bound.calls
        missing = [example for example in wanted if example not in done]
        settings = current(program, self.trials.space)
        for example, outcome in zip(missing, await self.trials.outcomes(settings, missing), strict=True):
            if self.ledger.room("calls") < most:
                return False
            new = {key: tokens for key, tokens in outcome.calls.items() if (example, key) not in self.met}
            self.met.update((example, key) for key in new)
            paid = Amount(calls=len(new), total=sum(new.values()))
            self.ledger.spent += paid
            self.record.end(trial, example, outcome.result, paid)
        return True


class _Logging(TrialRecord):
    """A record that knows which calls a run was made of."""

    def __init__(self, connection: sqlite3.Connection, where: str) -> None:
        super().__init__(connection, where)
        self.close = connection.close
        self.made_of: dict[tuple[int, int], dict[str, int]] = {}

    def journal(self, trial: int, example: int) -> ExampleJournal:
        calls = self.made_of.setdefault((trial, example), {})
        return _Logged(
            self, trial, example, lambda key, done: calls.update({key: done.prompt_tokens + done.output_tokens})
        )


class _Logged(ExampleJournal):
    def __init__(self, record: TrialRecord, trial: int, example: int, log: Callable[[str, Completion], None]) -> None:
        super().__init__(record, trial, example)
        self._log = log

    def find(self, key: str) -> Completion | None:
        found = super().find(key)
        if found is not None:
            self._log(key, found)
        return found

    def keep(self, key: str, completion: Completion) -> None:
        super().keep(key, completion)
        self._log(key, completion)
