"""Reads the final answer out of free-form text."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple


class Extracted(NamedTuple):
    """An answer and where it came from."""

    answer: str | None
    reasoning: str
    """The text around the answer; a last line that held nothing but the box is left out."""
    repair: str | None
    """What was guessed, None where a complete box was found."""


NO_ANSWER = "no answer found"

# One alternative per brace event, so that one pass over the text balances every box: linear on any input. An escaped
# brace is a set's brace inside an answer, not a group. The backslash may be missing: small models forget it.
_EVENT = re.compile(r"(?P<box>\\?(?:boxed|fbox)\s{0,8}\{)|\\[{}]|(?P<open>\{)|(?P<close>\})")
_BARE_BOX = re.compile(r"\\(?:boxed|fbox)\s{1,8}([^\s{}\\]{1,100})")
_STATED = re.compile(r"\banswer(?:\s{1,4}is|\s{0,4}[:=])[\s:*]{0,8}([^\n]{1,300})", re.IGNORECASE)
_EQUALS = re.compile(r"=([^=\n]{1,200})\Z")
_NUMBER = re.compile(r"-?\$?[0-9](?:[0-9,]{0,40}[0-9])?(?:\.[0-9]{1,40})?(?:/[0-9]{1,20})?")
_LEADING_NUMBER = re.compile(rf"({_NUMBER.pattern})(?=\s[A-Za-z]{{2}})")
_SENTENCE_END = re.compile(r"[.!?](?=\s|\Z)")
_DECORATION = " \t\r\n*_`$.,;:"


@lru_cache(maxsize=256)  # branches that agree often say so in the same words
def extract_answer(text: str) -> Extracted:
    """The answer a text states last. Never raises; time is linear in the text.

    In this order: the last complete box, a box without braces, a box cut off, "the answer is ...", "= ..." at the end,
    the last number. All but the first are named in `repair`.
    """
    text = text.strip()
    closed, unclosed = _boxes(text)
    if closed is not None:
        start, inner, end = closed
        answer = text[inner:end].strip()
        repair = None if text[start] == "\\" else "took a boxed{} without its backslash"
        return Extracted(answer, _without_last_line(text, start, end + 1), repair)
    for bare in reversed(_BARE_BOX.findall(text)):
        if answer := bare.strip(_DECORATION):
            return Extracted(answer, text, "took a \\boxed without braces")
    if unclosed is not None and (answer := _first_line(text[unclosed:]).rstrip("} ").strip(_DECORATION)):
        return Extracted(answer, text, "took a \\boxed{ that never closes")
    return _guess(text)


def boxed_span(text: str) -> tuple[int, int] | None:
    """Where the content of the last complete box stands, as (start, end); None without one."""
    closed, _ = _boxes(text)
    return None if closed is None else closed[1:]


def _boxes(text: str) -> tuple[tuple[int, int, int] | None, int | None]:
    """The last filled box as (start, start of its content, its closing brace), and the last unclosed one's content."""
    last: tuple[int, int, int] | None = None
    stack: list[tuple[int, int] | None] = []
    for event in _EVENT.finditer(text):
        if event["box"]:
            stack.append((event.start(), event.end()))
        elif event["open"]:
            stack.append(None)
        elif event["close"] and stack:
            box = stack.pop()
            # The last box is the one that starts last; an empty one only repeats the request.
            if box and (last is None or box[0] > last[0]) and text[box[1] : event.start()].strip():
                last = (*box, event.start())
    return last, next((box[1] for box in reversed(stack) if box), None)


def _guess(text: str) -> Extracted:
    stated = _last(_STATED, text)
    if stated is not None and (answer := _phrase(stated)):
        return Extracted(answer, text, 'no \\boxed: took what follows "answer"')
    equals = _EQUALS.search(text[-300:])
    if equals is not None and (answer := _phrase(equals[1])):
        return Extracted(answer, text, "no \\boxed: took what follows the last =")
    number = _last(_NUMBER, text)
    if number is not None:
        return Extracted(number.replace("$", ""), text, "no \\boxed: took the last number")
    return Extracted(None, text, NO_ANSWER)


def _last(pattern: re.Pattern[str], text: str) -> str | None:
    found = None
    for match in pattern.finditer(text):
        found = match[match.lastindex or 0]
    return found


def _phrase(text: str) -> str:
    """The answer at the start of a sentence: up to its end, or only the number where words follow one."""
    text = text.lstrip(_DECORATION)
    number = _LEADING_NUMBER.match(text)
    if number:
        return number[1].replace("$", "")
    return _SENTENCE_END.split(text, maxsplit=1)[0].strip(_DECORATION)


def _first_line(text: str) -> str:
    return text.lstrip().split("\n", 1)[0]


def _without_last_line(text: str, start: int, end: int) -> str:
    line_start = text.rfind("\n", 0, start) + 1
    around = text[line_start:start] + text[end:]
    return text[:line_start].rstrip() if not around.strip(_DECORATION + "\\[]()") else text
