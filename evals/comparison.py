"""Comparing answers without a computer algebra system: equal spellings, plain numbers, words, countdown expressions.

What can be decided here needs no worker process; `decide` says None for the rest.
"""

from __future__ import annotations

import ast
import operator
import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction

from reasonflow.prompts.canonical import canonical

MAX_CHARS = 10_000
"""No final answer is longer; what is, is a text that ran away."""
_MAX_EXPRESSION_CHARS = 500

_NUMBER = re.compile(r"([+-]?)((?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?)")
_UNITS = re.compile(r"(?:\\text\s*\{[^{}]*\}|(?:\s[A-Za-z]{2,}\.?)+)\s*\Z")
_TEXT_COMMAND = re.compile(r"\\(?:text|mathrm|textbf|mbox)\s*\{([^{}]*)\}")
_WORDS = re.compile(r"[^\W\d_]{3,}|[^\W\d_]+(?:[\s'.-]+[^\W\d_]+)+\.?")
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def decide(answer: str, expected: str) -> bool | None:
    """Whether the two are equal, where that is plain: None where only algebra can tell."""
    if canonical(answer) == canonical(expected):
        return True
    if is_words(expected):
        return same_words(answer, expected)
    left, right = number(answer), number(expected)
    if left is None or right is None:
        return None
    if left == right:
        return True
    # Decimals are left to the algebra's rounding rule: 0.333333 stands for 1/3 there.
    return False if left.denominator == right.denominator == 1 else None


def number(text: str) -> Fraction | None:
    """The value of a plain number: 1,000, $5, 12.50, 7 apples. None for anything that needs reading as mathematics."""
    text = text.strip().strip("$").removeprefix("\\$").rstrip(".").strip()
    if len(text) > 100:
        return None
    match = _NUMBER.fullmatch(_UNITS.sub("", text).strip())
    if not match or not match[2]:
        return None
    value = Fraction(match[2].replace(",", ""))
    return -value if match[1] == "-" else value


def is_words(expected: str) -> bool:
    """Whether a gold answer is a name or a phrase. Algebra would read `east` as a product, equal to `seat`."""
    stripped = _TEXT_COMMAND.sub(r"\1", expected).strip()
    return bool(_WORDS.fullmatch(stripped)) and (stripped != expected.strip() or "\\" not in expected)


def same_words(answer: str, expected: str) -> bool:
    """Equality of phrases as question answering counts it: case, articles, punctuation and spacing say nothing."""
    words = _plain_words(expected)
    # An answer of punctuation or articles only would be equal to every other such answer.
    return _plain_words(answer) == words if words else answer.strip().casefold() == expected.strip().casefold()


def _plain_words(text: str) -> str:
    text = _TEXT_COMMAND.sub(r"\1", text).casefold()
    return " ".join(_ARTICLES.sub(" ", text.translate(_PUNCTUATION)).split())


_OPERATORS: dict[type, Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_LATEX = (("\\times", "*"), ("\\cdot", "*"), ("\\div", "/"), ("×", "*"), ("·", "*"), ("÷", "/"), ("−", "-"), ("$", ""))
_LATEX_FRACTION = re.compile(r"\\d?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")


def countdown(answer: str, numbers: Sequence[int], target: int) -> tuple[bool, str]:
    """Whether an expression reaches the target with every number exactly once; and why not.

    The expression may be followed by `= value`. It is read as a syntax tree and never run.
    """
    text = answer.split("=")[0]
    for latex, sign in _LATEX:
        text = text.replace(latex, sign)
    text = _LATEX_FRACTION.sub(r"((\1)/(\2))", text.replace("\\left", "").replace("\\right", "")).strip()
    if len(text) > _MAX_EXPRESSION_CHARS:
        return False, f"the expression is longer than {_MAX_EXPRESSION_CHARS} characters"
    used: list[int] = []
    try:
        value = _evaluate(ast.parse(text, mode="eval").body, used)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:  # MemoryError: the parser's own stack
        return False, f"not an expression: {error}"
    except ZeroDivisionError:
        return False, "divides by zero"
    if Counter(used) != Counter(int(n) for n in numbers):
        return False, f"uses {sorted(used)} instead of {sorted(numbers)}"
    return (True, "") if value == Fraction(target) else (False, f"makes {value} instead of {target}")


def _evaluate(node: ast.AST, used: list[int]) -> Fraction:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        used.append(node.value)
        return Fraction(node.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_evaluate(node.operand, used)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_evaluate(node.left, used), _evaluate(node.right, used))
    raise ValueError("only whole numbers, + - * / and brackets are allowed")
