"""Made trajectories to try the training on: rows of numbers, each added up in a thread of its own."""

from __future__ import annotations

from random import Random
from typing import Any

_NAMES = ("A", "B", "C", "D", "E")


def trajectories(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """So many rows of training data, in the format of ThreadWeaver; equal seeds give equal ones."""
    random = Random(f"sums/{seed}")
    return [_trajectory(random) for _ in range(count)]


def _trajectory(random: Random) -> dict[str, Any]:
    names = _NAMES[: random.randint(2, len(_NAMES))]
    numbers = [[random.randint(1, 20) for _ in range(random.randint(3, 6))] for _ in names]
    listed = "\n".join(f"{name}: {', '.join(map(str, row))}" for name, row in zip(names, numbers, strict=True))
    outlines = "\n".join(f"<Outline>{number}: {name}</Outline>" for number, name in enumerate(names, 1))
    threads = "".join(f"<Thread>\n{number}: {_added(row)}</Thread>" for number, row in enumerate(numbers, 1))
    totals = [sum(row) for row in numbers]
    return {
        "messages": [{"role": "user", "content": f"Add each row, then add the sums.\n{listed}"}],
        "text": f"<Parallel>\n<Outlines>\n{outlines}\n</Outlines>\n{threads}\n</Parallel>\n"
        f"{_added(totals)}\n\\boxed{{{sum(totals)}}}",
        "correct": True,
        "well_formed": True,
    }


def _added(numbers: list[int]) -> str:
    """One line for each number behind the first."""
    lines, total = [], numbers[0]
    for number in numbers[1:]:
        lines.append(f"{total} + {number} = {total + number}")
        total += number
    return "\n".join(lines)
