"""A toy curriculum: a digit, and the digits that follow it, counted on and around."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from reasonflow.errors import InputError
from reasonflow.optimizers.training.examples import Encoded, Question

PAD, END, GO, ZERO = range(4)
"""Ids: the digits follow from ZERO on."""
FOLDER = Path(__file__).resolve().parents[3] / "reasonflow" / "models" / "embedded"
STAGES = ("count", "count-on")


def counted(first: int, length: int) -> list[int]:
    """So many digits after `first`, as ids."""
    return [ZERO + (first + step) % 10 for step in range(1, length + 1)]


@dataclass(frozen=True)
class Counting:
    """Keeps the contract of `Curriculum`."""

    vocabulary: int = ZERO + 10
    stop: tuple[int, ...] = (END,)
    folder: Path = FOLDER
    length: int = 12

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(str(token - ZERO) if token >= ZERO else "?" for token in tokens)

    def examples(self, stage: str, seed: int, drafts: Path | None = None) -> Iterator[Encoded]:
        if stage not in STAGES:
            raise InputError(f"the curriculum has no stage {stage!r}")
        firsts = range(10) if drafts is None else [int(row["address"]) for row in rows(drafts)]
        random = Random(seed)
        while True:
            first = random.choice(firsts)
            tokens = [ZERO + first, GO, *counted(first, random.randint(2, self.length)), END]
            yield Encoded(tokens, ((2, len(tokens)),))

    def questions(self, stage: str, seed: int, count: int) -> Iterator[tuple[Question, int]]:
        random = Random(f"{stage}/{seed}")
        for first in random.sample(range(10), count):
            yield Question(str(first), [ZERO + first, GO]), 3

    def about(self, drafts: Path) -> dict[str, float]:
        made = [(int(row["address"]), draft) for row in rows(drafts) for draft in row["drafts"]]
        right = [draft == self.decode(counted(first, len(draft))) for first, draft in made]
        return {"right": sum(right) / len(right)}


def rows(folder: Path) -> list[dict]:
    return [json.loads(line) for file in sorted(folder.glob("*.jsonl")) for line in file.read_text().splitlines()]


COUNTING = Counting()
ENDLESSLY = Counting(length=400)
