"""A scripted model that plays HybridSearch without a mistake, in the lessons' own words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

from reasonflow.evals.curriculum.searching import condensed, note_in, turn
from reasonflow.evals.tasks.problems import Item
from reasonflow.programs.query_blocks import RESULTS, RESULTS_END

_BLOCK = re.compile(rf"{re.escape(RESULTS)}\n(.*?)\n{re.escape(RESULTS_END)}", re.DOTALL)
_CONDENSING = re.compile(r"## Query [^\n]*\n([^\n]*)\n\n## Pages [^\n]*\n(.*)", re.DOTALL)


class Player:
    """Answers as `rf.scripted` asks."""

    def __init__(self, items: Sequence[Item], *, sequential: bool) -> None:
        self.items, self.sequential = items, sequential

    def __call__(self, prompt: str, seed: int | None, index: int) -> str:
        reading = _CONDENSING.search(prompt)
        if reading:
            return condensed(note_in(reading[2], reading[1]))
        item = next(item for item in self.items if item.text in prompt)
        lines = [line for block in _BLOCK.findall(prompt) for line in block.split("\n")]
        notes = {query: note for query, _, note in (line.partition(": ") for line in lines)}
        return turn(item.lookups, notes, solved(item), sequential=self.sequential)


def solved(item: Item) -> str:
    return item.solution(Random(item.address))
