"""What many runs may spend together: whether another one may start, and who cut one that was cut.

A run that starts with too little left would be cut off in the middle, or made to write less than the others: its result
would say something about the budget and nothing about the program. So a run starts only where one as large as the
largest so far still fits beside those under way, and what the shared budget cuts or squeezes all the same is no result.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager

import anyio

from reasonflow.plan.budget import Budget
from reasonflow.runtime.ambient import ambient
from reasonflow.runtime.ledger import Amount, Ledger
from reasonflow.runtime.price import FREE_OF_CHARGE, Price

_AMOUNTS = ("total", "calls", "dollars")


class Room:
    """The shared budget of one session, and the runs that draw on it. Who waits for it, and on what, is the user's."""

    def __init__(
        self,
        budget: Budget,
        each: Mapping[str, float],
        *,
        earlier: Iterable[Amount] = (),
        earlier_s: float = 0.0,
        price: Price = FREE_OF_CHARGE,
        parent: Ledger | None = None,
    ) -> None:
        """each: what one run can spend at most, by name, as far as that is known. earlier: what runs of other sessions
        spent.

        earlier_s: seconds those took. price: of the engine, for budgets in dollars. parent: of whose budget this is a
        part, and which has counted what it spent; None: the surrounding one.
        """
        self.budget, self._each, self._price = budget, each, price
        above = parent or ambient().ledger
        self.ledger = Ledger(budget, above, remembers=above is not None and above.remembers)
        self.ledger.began -= earlier_s
        self._largest: Amount | None = None
        """In each respect, of the runs that ended."""
        for spent in earlier:
            self.ledger.spent += spent
            self._see(spent)
        self.running: set[Ledger] = set()

    def begin(self) -> Ledger:
        """The ledger of a run that starts."""
        ledger = Ledger(Budget(), self.ledger)
        self.running.add(ledger)
        return ledger

    def end(self, ledger: Ledger) -> None:
        """That run has ended."""
        self.running.discard(ledger)
        self._see(ledger.spent)

    def is_to_blame(self, ledger: Ledger, own: Budget) -> bool:
        """Whether it was the shared budget that cut or squeezed a run. own: the run's own budget."""
        if not own.limits or self.ledger.seconds_left(self._price.hour) <= 0:
            return True
        for name in _AMOUNTS:
            # Which of two budgets had no room cannot be asked for: the one with less left was the one in the way.
            left, spent = self.ledger.room(name), getattr(ledger.spent, name)
            limit = getattr(own, name)
            if left < (max(spent, self._need(name) or 0) if limit is None else limit - spent):
                return True
        return False

    def fits(self) -> bool:
        """Whether another run as large as the largest so far fits beside those under way."""
        if self.ledger.seconds_left(self._price.hour) <= 0:
            return False
        return all(self._has(name) for name in _AMOUNTS if self.ledger.limits(name))

    def _has(self, name: str) -> bool:
        room, need = self.ledger.room(name), self._need(name)
        if not self.running and self._largest is None:
            return room > 0  # nothing is known of the runs but their worst case: the first one will tell
        if need is None:
            return False
        growing = sum(max(0, need - getattr(run.spent + run.held, name)) for run in self.running)
        return bool(room - growing >= need)

    def _need(self, name: str) -> float | None:
        """What a run takes: as the largest so far did, else what it may take at most; None where nobody knows."""
        return self._each.get(name) if self._largest is None else getattr(self._largest, name)

    def _see(self, spent: Amount) -> None:
        if not spent.calls:
            return  # it failed before it spent anything, which says nothing of the others
        before = self._largest or Amount()
        self._largest = Amount(**{name: max(getattr(before, name), getattr(spent, name)) for name in _AMOUNTS})


class Spending:
    """What admits runs that are awaited. One loop's object."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self.stopped = False
        """No further run starts."""
        self._change = anyio.Event()

    @asynccontextmanager
    async def run(self) -> AsyncIterator[Ledger | None]:
        """The ledger of one run, as soon as there is room for it; None where there will be none any more."""
        while not self.stopped and not self._room.fits():
            if self._room.running:
                await self._change.wait()
            else:
                self.stopped = True
        if self.stopped:
            yield None
            return
        ledger = self._room.begin()
        try:
            yield ledger
        finally:
            self._room.end(ledger)
            self._change.set()
            self._change = anyio.Event()

    def is_to_blame(self, ledger: Ledger, own: Budget) -> bool:
        """As `Room`'s. If so, no further run starts."""
        blamed = self._room.is_to_blame(ledger, own)
        self.stopped = self.stopped or blamed
        return blamed
