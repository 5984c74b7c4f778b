"""Solutions of a graph as text: a line `name = expression = value` for each needed quantity, then the boxed answer.

Lines come in random topological orders, so two drafts of one problem differ: each part from its beginning to its end,
parts in any order, then what joins them. The threaded form, of which a problem has one, writes independent parts as
threads, in the format of ThreadWeaver (arXiv 2512.07843).
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


def threaded(graph: Graph) -> str:
    """A solution with its parts in threads. Raises InputError where threads do not pay; `threads_pay` tells before.

    First the joins, in names, from the asked one down; what they end in are the outlines, in that order. In front of a
    part's lines stand the names on the way down from what the thread is to find: see `way_down`. Behind the block the
    joins have their values, from the last one up. Parts share a thread where there are more than six of them, or where
    one alone is too short.
    """
    values = graph.values()
    joins, ends = _plan(graph)
    parts = {part[-1].name: part for part in graph.parts()}
    groups = _dealt([_Part(parts[end], values) for end in ends])
    if not groups:
        raise InputError(
            f"a graph of {len(parts)} parts has no threaded form",
            why=f"threads are {FEWEST_THREADS} to {MOST_THREADS}, of at least {SHORTEST_THREAD} tokens each",
            fix="ask threads_pay(graph) first, or take the mix `threads`",
        )
    outlines = [", ".join(part.name for part in group) for group in groups]
    bodies = ["\n".join(f"{', '.join(way_down(part.quantities))}\n{part.text}" for part in group) for group in groups]
    return "\n".join(
        [
            *(f"{join.name} = {expression(join)}" for join in joins),
            "<Parallel>",
            "<Outlines>",
            *(f"<Outline>{number}: {outline}</Outline>" for number, outline in enumerate(outlines, 1)),
            "</Outlines>",
            # No break between one thread's end and the next one's beginning: so the format has it.
            "".join(f"<Thread>\n{number}: {body}</Thread>" for number, body in enumerate(bodies, 1)),
            "</Parallel>",
            _ended([line(join, values) for join in reversed(joins)], values[graph.asked]),
        ]
    )


def threads_pay(graph: Graph) -> bool:
    """Whether the graph has a threaded form."""
    values = graph.values()
    return bool(_dealt([_Part(part, values) for part in graph.parts()]))


def way_down(part: Sequence[Quantity]) -> list[str]:
    """Names from the last quantity of a part down to its first, each an operand of the one before.

    A thread's first line is about a quantity as many steps away from its outline as the part is deep: here they are
    written, one lookup each. The built-in model, trained on threads without this, began any thread with any part's
    first line (0 of 40 problems right, with 36 in sequence). That ways help is not measured yet.
    """
    found = [part[0]]
    while found[-1] is not part[-1]:
        found.append(next(quantity for quantity in part if found[-1].name in quantity.operands))
    return [quantity.name for quantity in reversed(found)]


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
        self.quantities, self.name = quantities, quantities[-1].name
        self.text = "\n".join(line(quantity, values) for quantity in quantities)
        self.length = tokens.count(self.text)


def _plan(graph: Graph) -> tuple[list[Quantity], list[str]]:
    """The joins, each behind the one that is made of it, breadth first, and the names of the parts' ends that they
    come to, in that order."""
    joins = {quantity.name: quantity for quantity in graph.joins}
    order: list[Any] = [graph.asked]
    for name in order:
        if name in joins:
            order += joins[name].operands
    return [joins[name] for name in order if name in joins], [name for name in order if name not in joins]


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
