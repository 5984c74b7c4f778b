"""Solutions of a graph as text: a line `name = expression = value` for each needed quantity, then the boxed answer.

Lines come in random topological orders, so two drafts of one problem differ: each part from its beginning to its end,
parts in any order, then what joins them. The threaded form writes independent parts as threads, in the format of
ThreadWeaver (arXiv 2512.07843).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from reasonflow.errors import InputError
from reasonflow.evals.tasks import tokens
from reasonflow.evals.tasks.chance import pick, shuffle
from reasonflow.evals.tasks.graph import Graph, Quantity

FEWEST_THREADS, MOST_THREADS = 3, 6
SHORTEST_THREAD = 60
"""Tokens. A shorter thread costs more than it saves: its outline, its marks and a request of its own."""
LONGEST_OUTLINE = 10
"""Tokens, marks included."""


def solution(graph: Graph, random: Random) -> str:
    """A sequential solution, in an order drawn from `random`."""
    values = graph.values()
    return _ended([line(quantity, values) for quantity in in_order(graph.needed, random)], values[graph.asked])


def direct(answer: int) -> str:
    """The answer alone, as every solution ends in it."""
    return f"\\boxed{{{answer}}}"


def threaded(graph: Graph, random: Random) -> str:
    """A solution with its parts in threads. Raises InputError where threads do not pay; `threads_pay` tells before.

    An outline names the given quantity at the beginning of its part, which the thread's first line states: a thread
    goes from there as a sequential solution does, as far as it gets without the other parts. Parts share a thread where
    there are more than six of them, or where one alone is too short.
    """
    values = graph.values()
    parts = [_Part(part, values) for part in graph.parts()]
    shuffle(random, parts)
    groups = _dealt(parts)
    if not groups:
        raise InputError(
            f"a graph of {len(parts)} parts has no threaded form",
            why=f"threads are {FEWEST_THREADS} to {MOST_THREADS}, of at least {SHORTEST_THREAD} tokens each",
            fix="ask threads_pay(graph) first, or take the mix `threads`",
        )
    outlines = [", ".join(part.begins for part in group) for group in groups]
    bodies = ["\n".join(part.text for part in group) for group in groups]
    joins = [line(quantity, values) for quantity in in_order(graph.joins, random)]
    return "\n".join(
        [
            "<Parallel>",
            "<Outlines>",
            *(f"<Outline>{number}: {outline}</Outline>" for number, outline in enumerate(outlines, 1)),
            "</Outlines>",
            # No break between one thread's end and the next one's beginning: so the format has it.
            "".join(f"<Thread>\n{number}: {body}</Thread>" for number, body in enumerate(bodies, 1)),
            "</Parallel>",
            _ended(joins, values[graph.asked]),
        ]
    )


def threads_pay(graph: Graph) -> bool:
    """Whether the graph has a threaded form. Does not depend on the order of its parts."""
    values = graph.values()
    return bool(_dealt([_Part(part, values) for part in graph.parts()]))


def line(quantity: Quantity, values: Mapping[Any, int]) -> str:
    """`name = expression = value`, with numbers in the expression only."""
    name, sign, operands, value, _, _ = quantity
    if not sign:
        return f"{name} = {value} = {value}"
    left, right = operands
    return f"{name} = {values.get(left, left)} {sign} {values.get(right, right)} = {value}"


def full_line(quantity: Quantity, values: Mapping[Any, int]) -> str:
    """`name = expression with names = expression with numbers = value`; a given quantity has no names to write."""
    text = line(quantity, values)
    return text if not quantity.sign else f"{quantity.name} = {expression(quantity)} = {text.partition(' = ')[2]}"


def expression(quantity: Quantity) -> str:
    """What a quantity is made of, in names: `name sign name`, `name sign number`, or the number that is given."""
    left, *right = quantity.operands
    return f"{left} {quantity.sign} {right[0]}" if right else str(left)


def in_order(quantities: Sequence[Quantity], random: Random) -> list[Quantity]:
    """A random order in which operands stand first; those that are not among the quantities count as known.

    quantities: in an order in which operands stand first. It is kept inside of each part. Parts in random order, each
    whole, then the joins, each time one of those whose operands all stand before.
    """
    parts: dict[int, list[Quantity]] = {}
    joins: list[Quantity] = []
    for quantity in quantities:
        (joins if quantity.part is None else parts.setdefault(quantity.part, [])).append(quantity)
    order = list(parts.values())
    shuffle(random, order)
    found = [quantity for part in order for quantity in part]
    while joins:
        missing = {quantity.name for quantity in joins}
        ready = [quantity for quantity in joins if missing.isdisjoint(quantity.operands)]
        found.append(pick(random, ready))
        joins.remove(found[-1])
    return found


class _Part:
    """A part with its lines."""

    def __init__(self, quantities: Sequence[Quantity], values: Mapping[Any, int]) -> None:
        self.begins = quantities[0].name
        self.text = "\n".join(line(quantity, values) for quantity in quantities)
        self.length = tokens.count(self.text)


def _dealt(parts: Sequence[_Part]) -> list[list[_Part]]:
    """One or two parts for each thread, as many threads as pay; empty where three do not.

    Long parts stand alone and short ones go in pairs, the shortest with the longest of them. Parts keep their order,
    pairs stand where their first part does.
    """
    for count in range(min(MOST_THREADS, len(parts)), FEWEST_THREADS - 1, -1):
        pairs = len(parts) - count
        if pairs > count:
            break
        paired = sorted(parts, key=lambda part: part.length)[: 2 * pairs]
        other = dict(zip(paired, reversed(paired), strict=True))
        groups = [
            sorted({part, other.get(part, part)}, key=parts.index)
            for part in parts
            if part not in other or parts.index(part) < parts.index(other[part])
        ]
        if all(sum(part.length for part in group) >= SHORTEST_THREAD for group in groups):
            return groups
    return []


def _ended(lines: list[str], answer: int) -> str:
    return "\n".join([*lines, direct(answer)])
