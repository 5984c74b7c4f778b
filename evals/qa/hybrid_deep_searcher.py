"""Answer metrics as HybridDeepSearcher's evaluation counts them: published figures compare with these only.

Tokens are what stands between spaces, in lower case; articles and punctuation count. There is one gold answer, the
first. Source: arXiv 2508.19113, `infer/eval.py` of its repository; figures there are in percent, here in 0 to 1.
"""

from __future__ import annotations

from typing import Any

from reasonflow.evals.qa.squad import overlap

_STRIPPED = (
    "begin{aligned}", "end{aligned}", "\\", "&", "{", "}", "(", ")", ":", '"', "'", ".", ",", ";", "!", "?",
)  # fmt: skip
"""Taken out of FanOutQA's tokens, in this order. Their list ends in `\\text`, which no token holds after the `\\`."""


def gold_text(answer: Any) -> str:
    """A gold answer as their script compares it: of FanOutQA's objects and lists Python's spelling."""
    return str(answer)


def exact_match(answer: str, gold: str) -> bool:
    """Whether the two are equal but for case and spacing."""
    return _plain(answer) == _plain(gold)


def contains(answer: str, gold: str) -> bool:
    """Whether the gold answer stands in the answer, also inside of a word: their accuracy."""
    return _plain(gold) in _plain(answer)


def f1(answer: str, gold: str, *, fanout: bool = False) -> float:
    """Overlap of the tokens, 0 to 1. fanout: for FanOutQA, whose tokens lose punctuation and LaTeX."""
    found, wanted = _plain(answer).split(), _plain(gold).split()
    if fanout:
        found, wanted = _without_signs(found), _without_signs(wanted)
    return overlap(found, wanted)


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _without_signs(tokens: list[str]) -> list[str]:
    stripped = []
    for token in tokens:
        for sign in _STRIPPED:
            token = token.replace(sign, "")
        stripped.append(token)
    return [token for token in stripped if token]
