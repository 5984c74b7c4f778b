"""Branches that begin when the branches they need have ended: a graph that only the run knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio

from reasonflow.errors import RunError
from reasonflow.runtime.values import FREE, Cost, Hole, longest
from reasonflow.runtime.where import Outcome


class Waiting:
    """Of the branches of one step. needs: of each branch, the numbers of the items it needs.

    items: of which the branches are the first; the others have been left out, and have holes for results.
    Raises RunError for a number that is no item's, and for branches that wait for each other.
    """

    def __init__(self, name: str, needs: Sequence[Sequence[Any]], items: int) -> None:
        self._name = name
        self._needs = [_numbers(name, index, wanted, items) for index, wanted in enumerate(needs)]
        self._ended = [anyio.Event() for _ in needs]
        self._outcomes: list[Outcome | None] = [None] * len(needs)
        self.chain = _longest_chain(name, self._needs)
        """Branches that run one after the other, at most."""

    async def found(self, index: int) -> Outcome:
        """What the branches that this one needs have given, in the order in which it named them. Waits for them."""
        outcomes: list[Outcome] = []
        for other in self._needs[index]:
            if other >= len(self._ended):
                outcomes.append((Hole(f"{self._name}[{other}]", RunError("the cap leaves it out")), FREE))
                continue
            await self._ended[other].wait()
            outcome = self._outcomes[other]
            assert outcome is not None, "it has ended"
            outcomes.append(outcome)
        return [value for value, _ in outcomes], longest([cost for _, cost in outcomes])

    def end(self, index: int, value: Any, cost: Cost) -> None:
        """A branch has ended, with a value or a hole."""
        self._outcomes[index] = value, cost
        self._ended[index].set()


def _numbers(name: str, index: int, wanted: Any, count: int) -> list[int]:
    if not isinstance(wanted, Sequence) or isinstance(wanted, str):
        raise RunError(
            f"what item {index} of {name} needs is {wanted!r:.80}",
            why="needs= gives the numbers of other items",
            fix="return a list of numbers from 0, or an empty one",
        )
    for number in wanted:
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < count:
            raise RunError(
                f"item {index} of {name} needs {number!r:.80}",
                why=f"there are items 0 to {count - 1}",
                fix="return numbers of items, from 0",
            )
    return list(wanted)


def _longest_chain(name: str, needs: Sequence[Sequence[int]]) -> int:
    """Raises RunError where there is a circle."""
    waits = [{number for number in wanted if number < len(needs)} for wanted in needs]
    level = {index for index, wanted in enumerate(waits) if not wanted}
    done: set[int] = set()
    chain = 0
    while level:
        chain, done = chain + 1, done | level
        level = {index for index, wanted in enumerate(waits) if index not in done and wanted <= done}
    if len(done) < len(waits):
        circle = sorted(set(range(len(waits))) - done)
        raise RunError(
            f"the items {', '.join(map(str, circle))} of {name} wait for each other",
            why="each needs another one of them, so none can begin",
            fix="break the circle before rf.each",
        )
    return max(1, chain)
