"""What an agent does that solves a problem with tools: one look-up or one calculation a step, then the answer.

A thought says in names what is to be calculated, then what number each name stands for, and the call has the numbers:
each word follows from one place. Without the numbers in between a model took them from other names, in a quarter of
problems with distractors. First what the text leaves out is looked up, in the order of the text; then every quantity
that is made of others is calculated.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any, NamedTuple

from reasonflow.evals.tasks.graph import Graph
from reasonflow.evals.tasks.problems import Item
from reasonflow.evals.tasks.solutions import expression, in_order, line
from reasonflow.evals.tasks.tools import calculate, look_up

FINISH = "finish"
"""The name that `dspy.ReAct` gives to its last step."""
MOST_OPERATIONS = 2
"""Of a problem that is judged to need no tool, where its text leaves nothing out: so many the small model can learn to
do in its head."""


class Step(NamedTuple):
    """A step of the agent with what came of it."""

    thought: str
    tool: str
    args: dict[str, Any]
    observation: str


class Episode(NamedTuple):
    """All steps of an agent, and how it ends."""

    steps: tuple[Step, ...]
    reasoning: str
    answer: str


def episode(item: Item, random: Random) -> Episode:
    """A perfect agent's; another state of `random` calculates in another order."""
    assert isinstance(item.content, Graph)
    found = f"{item.content.asked} = {item.answer}"
    last = Step(found, FINISH, {}, "Completed.")
    return Episode((*_looked_up(item), *_calculated(item.content, random), last), found, str(item.answer))


def needs_tools(item: Item) -> bool:
    """Whether the text leaves numbers out, or takes more operations than can be done in one's head."""
    assert isinstance(item.content, Graph)
    return bool(item.lookups) or sum(bool(quantity.sign) for quantity in item.content.needed) > MOST_OPERATIONS


def _looked_up(item: Item) -> Iterator[Step]:
    for lookup in item.lookups:
        args: dict[str, Any] = {"item": lookup.name, "house": lookup.house}
        yield Step(f"{lookup.name} in house {lookup.house}", "look_up", args, look_up(**args))


def _calculated(graph: Graph, random: Random) -> Iterator[Step]:
    values = graph.values()
    for quantity in in_order(graph.needed, random):
        if quantity.sign:
            said = line(quantity, values).rpartition(" = ")[0]
            known = [f"{operand} = {values[operand]}" for operand in quantity.operands if isinstance(operand, str)]
            thought = ", ".join([f"{quantity.name} = {expression(quantity)}", *known])
            yield Step(thought, "calculate", {"expression": said}, calculate(said))
