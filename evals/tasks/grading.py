"""Grading solutions: the final answer exactly, and every quantity on its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from reasonflow.errors import InputError
from reasonflow.evals.tasks.constraints import System
from reasonflow.evals.tasks.graph import Graph, Quantity, apply, numbers
from reasonflow.evals.tasks.problems import Content, item_at
from reasonflow.evals.tasks.reading import Statement, final_answer, statements

Fault: TypeAlias = Literal["", "unknown name", "arithmetic", "expression", "value"]
"""What is wrong with a line. unknown name: the problem has no such quantity. arithmetic: the line's own expression does
not make its value. expression: it is not how the quantity is made, or a number in it is not the true one. value: the
line gives no expression, and its value is not the true one."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A line of a solution, judged."""

    statement: Statement
    fault: Fault
    """The first that applies, in the order above; empty where the line is right."""
    arithmetic: bool
    """Whether the line's own expression makes its value, whatever the problem says. True where there is none."""
    true_value: bool
    """Whether the value is the one the problem gives this name, however the line came to it."""


@dataclass(frozen=True, slots=True)
class Marks:
    """What a solution text is worth."""

    findings: tuple[Finding, ...]
    """Of every line that states something, in order."""
    right: tuple[str, ...]
    """The needed quantities whose last line is right; of a system the constraints that hold, by their number from 1."""
    wrong: tuple[str, ...]
    """The others that are needed, stated wrongly or not at all."""
    answer: int | None
    """The boxed one."""
    correct: bool
    """Whether that is the answer."""

    @property
    def share(self) -> float:
        """Which part of what is needed is right."""
        return len(self.right) / (len(self.right) + len(self.wrong))


def grade(content: Content, text: str) -> Marks:
    """The marks of a solution text in any form. No text makes it raise."""
    answer = final_answer(text)
    findings = tuple(_judged(content, statement) for statement in statements(text))
    right, wrong = _by_quantity(content, findings) if isinstance(content, Graph) else _by_constraint(content, findings)
    return Marks(findings, right, wrong, answer, answer == content.answer)


def share_right(example: Any, prediction: Any, trace: object = None) -> float:
    """A metric for `rf.evaluate` and DSPy: which part of the needed quantities the prediction states rightly.

    example: with the field `address`, as `examples(...)` makes it. All text fields of the prediction are read, the
    reasoning above all. Raises InputError for an example without an address.
    """
    address = example.get("address") if hasattr(example, "get") else None
    if not isinstance(address, str):
        raise InputError(
            "share_right needs a field 'address' in the example",
            why="it makes the problem again from there",
            fix='use the examples of reasonflow.evals.tasks.problems.examples("graphmath:mid", size=20)',
        )
    texts = [value for value in dict(prediction.items()).values() if isinstance(value, str)]
    return grade(item_at(address).content, "\n".join(texts)).share


def _judged(content: Content, statement: Statement) -> Finding:
    values = content.values()
    made = statement.numbers
    result = apply(statement.sign, *made) if len(made) == 2 else made[0] if made else statement.value
    arithmetic = result == statement.value
    true_value = values.get(statement.name) == statement.value
    fault: Fault = ""
    if isinstance(content, System):
        # Candidates that turn out wrong are part of a search: only the line itself can be wrong.
        if statement.name not in values and statement.name != "rest":
            fault = "unknown name"
        elif not arithmetic:
            fault = "arithmetic"
        return Finding(statement, fault, arithmetic, true_value)
    quantity = next((quantity for quantity in content.quantities if quantity.name == statement.name), None)
    if quantity is None:
        fault = "unknown name"
    elif not arithmetic:
        fault = "arithmetic"
    elif not made:
        fault = "" if true_value else "value"
    elif not _is_made_so(quantity, statement, values):
        fault = "expression"
    return Finding(statement, fault, arithmetic, true_value)


def _is_made_so(quantity: Quantity, statement: Statement, values: Mapping[str, int]) -> bool:
    """Whether the expression is the quantity's own; the operands of sums and products may change places."""
    own, written = numbers(quantity, values), list(statement.numbers)
    same = written == own or (quantity.sign in ("+", "*") and written == own[::-1])
    return statement.sign == quantity.sign and same


def _by_quantity(graph: Graph, findings: tuple[Finding, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    # A line that is written again replaces the earlier one: solutions correct themselves.
    last = {finding.statement.name: finding.fault for finding in findings}
    needed = [quantity.name for quantity in graph.needed]
    return (
        tuple(name for name in needed if last.get(name) == ""),
        tuple(name for name in needed if last.get(name) != ""),
    )


def _by_constraint(system: System, findings: tuple[Finding, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    values = {finding.statement.name: finding.statement.value for finding in findings}
    held = [constraint.holds(values) for constraint in system.constraints]
    right = tuple(str(number) for number, holds in enumerate(held, 1) if holds)
    return right, tuple(str(number) for number, holds in enumerate(held, 1) if not holds)
