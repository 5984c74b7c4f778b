"""One spelling for answers that mean the same, so that votes can be counted."""

from __future__ import annotations

import re

_MAX_CHARS = 2000
"""Longer answers are compared as they are: no final answer is that long, and rewriting costs time."""

_WRAPPERS = re.compile(
    r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mbox|operatorname|boxed|fbox)\s*\{([^{}]*)\}"
)
_SPACING = re.compile(r"\\(?:left|right|displaystyle|quad|qquad)(?![a-zA-Z])|\\[!,;: ]|~")
_DEGREES = re.compile(r"\^\s*(?:\\circ|\{\s*\\circ\s*\})|\\degree(?![a-zA-Z])|°")
_PERCENT = re.compile(r"\\?%")
_SHORT_FRACTION = re.compile(
    r"\\frac\s*(?:\{(?P<a>[^{}]+)\}|(?P<x>[0-9a-zA-Z]))\s*(?:\{(?P<b>[^{}]+)\}|(?P<y>[0-9a-zA-Z]))"
)
_SLASH_FRACTION = re.compile(r"([+-]?)([0-9]+)/([0-9]+)")
_THOUSANDS = re.compile(r"[+-]?[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]*)?")
_DECIMAL = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?")
_LEFT_SIDE = re.compile(r"[a-zA-Z]\s*=\s*(?==*[^=])")
_PROSE = re.compile(r"(?<![a-zA-Z\\])[a-zA-Z]{2,}")
_WORDS = re.compile(r"[^\W\d_]+(?:[\s'’.-]+[^\W\d_]+)*")


def canonical(answer: str) -> str:
    """The key under which an answer is counted. Deterministic, cheap, no algebra: 1/2 and 0.5 stay apart.

    It drops what the field's graders drop: outer dollars, \\text, units of degree and percent, thousands commas, a plus
    sign, zeros that say nothing, a left side like `x =`; short fractions are written out, words lose their case.
    """
    text = answer.strip()
    if len(text) > _MAX_CHARS:
        return text
    for _ in range(10):  # each rule can expose work for another; answers settle in two or three rounds
        before, text = text, _once(text)
        if text == before:
            break
    return text


def _once(text: str) -> str:
    text = text.replace("−", "-").replace("{,}", ",").replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac")
    text = _WRAPPERS.sub(r"\1", text)
    text = _PERCENT.sub("", _DEGREES.sub("", _SPACING.sub(" ", text)))
    text = _unwrapped(text.strip(" \t\r\n*`").rstrip(".,;:").strip())
    text = _LEFT_SIDE.sub("", text, count=1) if _LEFT_SIDE.match(text) else text
    if _THOUSANDS.fullmatch(text):
        text = text.replace(",", "")
    if _WORDS.fullmatch(text):
        return " ".join(text.casefold().split())
    text = (" " if _PROSE.search(text) else "").join(text.split())  # in formulas spaces say nothing
    text = _SHORT_FRACTION.sub(_fraction, text)
    return _number(text)


def _unwrapped(text: str) -> str:
    for left, right in (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")):
        if text.startswith(left) and text.endswith(right) and len(text) >= len(left) + len(right):
            return text[len(left) : len(text) - len(right)].strip()
    if len(text) == 3 and text[0] == "(" and text[2] == ")" and text[1].isalpha():
        return text[1]  # (C), as options are often written
    return text.removeprefix("\\$").removeprefix("$").strip()


def _fraction(match: re.Match[str]) -> str:
    return f"\\frac{{{match['a'] or match['x']}}}{{{match['b'] or match['y']}}}"


def _number(text: str) -> str:
    slash = _SLASH_FRACTION.fullmatch(text)
    if slash:
        sign, top, bottom = slash.groups()
        return f"{'-' if sign == '-' else ''}\\frac{{{top}}}{{{bottom}}}"
    decimal = _DECIMAL.fullmatch(text)
    if not decimal or not (decimal[2] or decimal[3]):
        return text
    sign, whole, rest = decimal[1], decimal[2].lstrip("0") or "0", (decimal[3] or "").rstrip("0")
    value = f"{whole}.{rest}" if rest else whole
    return f"-{value}" if sign == "-" and value != "0" else value
