"""A calculator for agents that are only told of it: arithmetic as a model writes it, read and never run."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping

MAX_CHARS = 200
_LARGEST = 1e15
_OPERATORS: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_SIGNS = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-", "$": ""})
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%(?!\s*[\d(])")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")


def calculate(expression: str) -> str:
    """Computes an arithmetic expression of numbers, such as '(3 + 4.5) * 2 / 10'."""
    text = str(expression).translate(_SIGNS).strip().removeprefix("=").partition("=")[0].strip()
    text = _PERCENT.sub(r"(\1/100)", _THOUSANDS.sub("", text))
    if len(text) > MAX_CHARS:
        raise ValueError(f"the expression is longer than {MAX_CHARS} characters")
    try:
        value = _value(ast.parse(text, mode="eval").body)
    except (SyntaxError, RecursionError, MemoryError) as error:  # MemoryError: the parser's own stack
        raise ValueError(f"{expression!r} is no expression of numbers, as in '(3 + 4.5) * 2'") from error
    return f"{value:.10g}"


def _value(node: ast.AST) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
        found = float(node.value)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        found = _value(node.operand) * (-1 if isinstance(node.op, ast.USub) else 1)
    elif isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        found = _OPERATORS[type(node.op)](_value(node.left), _value(node.right))
    else:
        raise ValueError("only numbers, + - * / // % and brackets are allowed")
    if not abs(found) <= _LARGEST:
        raise ValueError(f"{found:g} is too large")
    return found
