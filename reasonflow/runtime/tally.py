"""A vote while its branches are still running: whether those that are missing can change which group wins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reasonflow.errors import ReasonFlowError
from reasonflow.plan.nodes import Quorum
from reasonflow.runtime.joins import ballot_of
from reasonflow.runtime.values import Hole

OUTVOTED = "the quorum stood without it"
"""Why a branch was stopped that could not change a vote any more."""


class Tally:
    """Counts the items of one list as they come, in any order."""

    def __init__(self, rule: Quorum, width: int) -> None:
        self._rule = rule
        self._missing = set(range(width))
        self._groups: dict[str, list[int]] = {}
        self._faulty = False

    def add(self, index: int, item: Any) -> None:
        """Item `index` has come; a hole has no vote."""
        self._missing.discard(index)
        if isinstance(item, Hole):
            return
        try:
            ballot = ballot_of(self._rule, item)
        except ReasonFlowError:
            self._faulty = True  # an item without the field: the vote itself will say so, over all items
            return
        if ballot is not None:
            self._groups.setdefault(ballot, []).append(index)

    @property
    def decided(self) -> bool:
        """Whether the group that wins now wins in every case. Ties go to the group whose first item comes first."""
        if not self._missing:
            return True
        if not self._groups:
            return False
        if self._rule.need is not None:
            return max(map(len, self._groups.values())) >= self._rule.need
        return self._unbeatable(self._ranked())

    @property
    def winner(self) -> int | None:
        """The item that the vote over the whole list chooses, whatever the missing ones are; None while that is open.

        Stricter than `decided`, to which any item of the winning group is right, and any group of `need`.
        """
        if self._faulty or not self._groups:
            return None
        most = max(map(len, self._groups.values()))
        if most < max(len(self._missing), self._rule.need or 0):
            return None
        ranked = self._ranked()
        first = min(ranked[0])
        if self._missing and (min(self._missing) < first or not self._unbeatable(ranked)):
            return None
        return first

    def _ranked(self) -> list[list[int]]:
        """The groups, the leading one first."""
        return sorted(self._groups.values(), key=lambda places: (-len(places), min(places)))

    def _unbeatable(self, ranked: list[list[int]]) -> bool:
        """Whether the first group stays ahead of all others, also of one that nobody has voted for yet."""
        leader = ranked[0]
        rivals = [(len(places), min(places)) for places in ranked[1:]]
        rivals.append((0, min(self._missing)))
        return all(self._beats(leader, votes, first) for votes, first in rivals)

    def _beats(self, leader: list[int], votes: int, first: int) -> bool:
        """Even if all that is missing goes to the rival."""
        reach = votes + len(self._missing)
        return len(leader) > reach or (len(leader) == reach and min(leader) < min(first, *self._missing))


def tallies(rules: tuple[Quorum, ...], width: int, least: int | None = None) -> Callable[[int, Any], bool]:
    """Takes items as they come; says after each whether all the rules are decided. Never, where there is no rule.

    least: items that must be there in any case (at most all of them); a list that had fewer would fail its step.
    """
    if not rules:
        return _never
    counts = [Tally(rule, width) for rule in rules]
    needed, there = min(least or 0, width), 0

    def decided(index: int, item: Any) -> bool:
        nonlocal there
        there += not isinstance(item, Hole)
        for count in counts:
            count.add(index, item)
        return there >= needed and all(count.decided for count in counts)

    return decided


def _never(index: int, item: Any) -> bool:
    return False
