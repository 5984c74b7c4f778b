"""Sets of drafts of one problem, and which of them are worth learning from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random

from reasonflow.errors import InputError
from reasonflow.evals.tasks.chance import between, shuffle
from reasonflow.evals.tasks.grading import grade
from reasonflow.evals.tasks.problems import Item, item_at
from reasonflow.evals.tasks.reading import final_answer

FEWEST, MOST = 2, 8
"""Drafts that a distiller or a refinement reads."""


@dataclass(frozen=True)
class DraftSet:
    """Drafts of the problem at an address."""

    address: str
    drafts: tuple[str, ...]

    @cached_property
    def item(self) -> Item:
        """The problem."""
        return item_at(self.address)

    @cached_property
    def answers(self) -> tuple[int | None, ...]:
        """The drafts' final answers."""
        return tuple(map(final_answer, self.drafts))

    @property
    def right(self) -> int:
        """How many drafts end in the right answer."""
        return sum(answer == self.item.answer for answer in self.answers)

    @property
    def wrong_plurality(self) -> bool:
        """Whether the answer that most drafts give is wrong; of equally frequent ones the first counts."""
        given = Counter(answer for answer in self.answers if answer is not None)
        return bool(given) and given.most_common(1)[0][0] != self.item.answer


def sub_set(drafts: DraftSet, random: Random) -> DraftSet:
    """2 to 8 of the drafts, every size alike, in random order. Raises InputError for a set of fewer than two."""
    some = list(drafts.drafts)
    if len(some) < FEWEST:
        raise InputError(
            f"the set of {drafts.address} has {len(some)} drafts", fix=f"write at least {FEWEST} drafts of a problem"
        )
    shuffle(random, some)
    return DraftSet(drafts.address, tuple(some[: between(random, FEWEST, min(MOST, len(some)))]))


def choose(
    sets: Sequence[DraftSet], random: Random, *, without_right: float = 0.3, wrong_plurality: float = 0.3
) -> list[DraftSet]:
    """As many sets as can be with at least these shares of sets without a right draft, and with a wrong plurality.

    What counts for neither is left out first, then what counts only for the share that is reached already. At least
    half of all stay, whatever the shares are then: `shares` tells what was reached. In random order.
    """
    kept = list(sets)
    shuffle(random, kept)
    pools: dict[tuple[bool, bool], list[int]] = {}
    for place, found in enumerate(kept):
        pools.setdefault((not found.right, found.wrong_plurality), []).append(place)
    bare, misled = sum(not found.right for found in kept), sum(found.wrong_plurality for found in kept)
    dropped: set[int] = set()
    size = len(kept)
    while 2 * size > len(kept) + 1:
        lacks_bare, lacks_misled = bare < without_right * size, misled < wrong_plurality * size
        if not (lacks_bare or lacks_misled):
            break
        if pools.get((False, False)):
            dropped.add(pools[False, False].pop())
        elif not lacks_misled and pools.get((False, True)) and misled - 1 >= wrong_plurality * (size - 1):
            dropped.add(pools[False, True].pop())
            misled -= 1
        elif not lacks_bare and pools.get((True, False)) and bare - 1 >= without_right * (size - 1):
            dropped.add(pools[True, False].pop())
            bare -= 1
        else:
            break
        size -= 1
    return [found for place, found in enumerate(kept) if place not in dropped]


def shares(sets: Sequence[DraftSet]) -> dict[str, float]:
    """Of all sets, how many have no right draft, a wrong plurality, all drafts right."""
    size = max(1, len(sets))
    return {
        "sets": float(len(sets)),
        "without_right": sum(not found.right for found in sets) / size,
        "wrong_plurality": sum(found.wrong_plurality for found in sets) / size,
        "all_right": sum(found.right == len(found.drafts) for found in sets) / size,
    }


def best_numbers(item: Item, drafts: Sequence[str], best: int) -> str:
    """The numbers, from 1, of the best drafts, joined by commas; all of them where there are no more.

    A right final answer comes first, then the larger share of right quantities, then the earlier draft.
    """

    def rank(number: int) -> tuple[bool, float, int]:
        draft = drafts[number]
        marks = grade(item.content, draft)
        return not marks.correct, -marks.share, number

    return ", ".join(str(number + 1) for number in sorted(range(len(drafts)), key=rank)[:best])
