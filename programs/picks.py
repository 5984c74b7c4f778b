"""Which of its earlier attempts a call reads: named by a grader, or drawn."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Any

import reasonflow as rf


def best_numbers(verdict: str, drafts: Sequence[Any]) -> list[int]:
    """The drafts a grader named, counted from 0, then the others in order, so that some can always be selected."""
    named = [int(number) - 1 for number in re.findall(r"\d+", verdict)]
    usable = [index for index in dict.fromkeys(named) if 0 <= index < len(drafts) and drafts[index]]
    if not usable:
        rf.note(f"the grader named no draft ({verdict[:40]!r}): took the first ones")
    return usable + [index for index, draft in enumerate(drafts) if draft and index not in usable]


def best_in_order(verdict: str, drafts: Sequence[Any], k: int) -> list[int]:
    """The best `k` that a grader named, in the drafts' own order: picks that begin alike share a prompt's front."""
    return sorted(best_numbers(verdict, drafts)[:k])


def drawn(drafts: Sequence[Any], k: int, seed: int, number: int, branch: int) -> list[int]:
    """`k` of the drafts that came about, all sets equally likely, in their own order; fewer where there are fewer.

    seed, number, branch: equal ones draw equally; `number` counts the rounds.
    """
    there = [index for index, draft in enumerate(drafts) if draft]
    draw = random.Random(f"{seed}/{number}/{branch}")  # a text seeds alike in every process
    return sorted(draw.sample(there, min(k, len(there))))
