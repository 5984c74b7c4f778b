"""A scripted engine that plays the built-in model: it reads the prompt's role, and errs as often as it is told to."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from random import Random
from typing import Any

from reasonflow.evals.suites.part_vote import plurality
from reasonflow.evals.tasks.graph import Graph, apply, numbers
from reasonflow.evals.tasks.problems import Item, item, parse_source
from reasonflow.evals.tasks.reading import final_answer
from reasonflow.evals.tasks.solutions import in_order

MIXES = ("mid", "direct", "noise", "breadth", "length")


def items(limit: int) -> list[Item]:
    """The problems a suite of that limit asks about."""
    return [item(parse_source(f"graphmath:{mix}"), index) for mix in MIXES for index in range(limit)]


def solver(limit: int, slips: float) -> Callable[[str, int | None, int], Any]:
    """slips: the share of lines that get a wrong value."""
    by_text = {found.text: found for found in items(limit)}
    return partial(_answer, by_text, slips)


def _answer(
    by_text: Mapping[str, Item], slips: float, prompt: str, seed: int | None, index: int
) -> str | dict[str, float]:
    found = next(each for text, each in by_text.items() if text in prompt)
    graph, random = found.content, Random(f"{seed}/{found.address}")
    assert isinstance(graph, Graph)
    shown = prompt.partition(found.text)[2]
    if "## Candidate" in shown:
        right = final_answer(shown.partition("Begin your answer")[0]) == found.answer
        sure = random.uniform(0.4, 1.0)
        return {"Yes": sure, "No": 1 - sure} if right else {"Yes": 1 - sure, "No": sure}
    if "## Drafts" in shown:
        drafts = re.split(r"### Draft \d+", shown)[1:]
        return "\n".join(f"{name} = {value}" for name, value in plurality(drafts).items())
    known = plurality([shown])
    return _written(found, (f"{name} = {value}" for name, value in known.items()), known, slips, random)


def _written(found: Item, given: Iterable[str], known: Mapping[str, int], slips: float, random: Random) -> str:
    """What is known first, then a line for each other quantity, parts in any order. Slips are carried on."""
    graph = found.content
    assert isinstance(graph, Graph)
    values, lines = dict(known), list(given)
    for quantity in in_order(graph.needed, random):
        if quantity.name not in values:
            made = numbers(quantity, values)
            value = apply(quantity.sign, *made) if quantity.sign else made[0]
            slip = random.randint(1, 9) if random.random() < slips else 0
            values[quantity.name] = (quantity.value if value is None else value) + slip
            written = f" {quantity.sign} ".join(map(str, made))
            lines.append(f"{quantity.name} = {written} = {values[quantity.name]}")
    return "\n".join([*lines, f"\\boxed{{{values[graph.asked]}}}"])
