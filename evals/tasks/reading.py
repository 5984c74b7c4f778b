"""Reading solutions: the statements of a text, its final answer, its threads. No text makes it raise."""

from __future__ import annotations

import re
from dataclasses import dataclass

_MARK = re.compile(r"</?[A-Za-z]+>")
_LINE = re.compile(
    r"^[ \t]*(?:\d+:|[-*•])?[ \t]*(?:the )?(?P<name>[a-z]+(?: [a-z]+)*)[ \t]*=[ \t]*"
    r"(?:[a-z]+(?: [a-z]+)* [-+*/] (?:[a-z]+(?: [a-z]+)*|\d{1,9}) = )?"  # the same in names, as careful solvers write
    r"(?:(?P<left>\d{1,9})(?:[ \t]*(?P<sign>[-+*/%×·÷−])[ \t]*(?P<right>\d{1,9}))?[ \t]*=[ \t]*)?"
    r"(?P<value>-?\d{1,9})[ \t]*$",
    re.MULTILINE | re.IGNORECASE,
)
_SIGNS = {"×": "*", "·": "*", "÷": "/", "−": "-"}
_BOX = re.compile(r"\\boxed\{\s*(-?\d{1,9})\s*\}")
_BLOCK = re.compile(r"<Outlines>(.*?)</Outlines>(.*?)</Parallel>(.*)", re.DOTALL)
_OUTLINE = re.compile(r"<Outline>\s*(\d+)\s*:\s*(.*?)\s*</Outline>", re.DOTALL)
_THREAD = re.compile(r"<Thread>\s*(\d+)\s*:\s*(.*?)\s*</Thread>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Statement:
    """A line `name = expression = value`, as it was written."""

    name: str
    """In small letters."""
    sign: str
    """Of the expression: one of + - * / %; empty where it is one number, or where there is none."""
    numbers: tuple[int, ...]
    """Of the expression. Empty where the line is `name = value`."""
    value: int


@dataclass(frozen=True, slots=True)
class Threads:
    """A text with threads, taken apart."""

    outlines: dict[str, str]
    """Number to what the thread is to find."""
    threads: dict[str, str]
    """Number to its text."""
    tail: str
    """What stands behind the block."""


def statements(text: str) -> list[Statement]:
    """Every line of the form, in order. Marks of threads are passed over, other lines too."""
    found = []
    for match in _LINE.finditer(_MARK.sub("\n", text) if "<" in text else text):
        name, left, sign, right, value = match.groups()
        numbers = () if left is None else (int(left),) if right is None else (int(left), int(right))
        found.append(Statement(name.lower(), _SIGNS.get(sign, sign or ""), numbers, int(value)))
    return found


def final_answer(text: str) -> int | None:
    """The number in the last box; None where there is none."""
    boxed = _BOX.findall(text)
    return int(boxed[-1]) if boxed else None


def threads(text: str) -> Threads | None:
    """The outlines and threads of a text in threaded form; None where there is no closed block."""
    block = _BLOCK.search(text)
    if block is None:
        return None
    outlines, bodies, tail = block.groups()
    return Threads(dict(_OUTLINE.findall(outlines)), dict(_THREAD.findall(bodies)), tail.strip())
