"""Scripted texts whose every token has alternatives: written surely, or not."""

from __future__ import annotations

import re

from reasonflow.backends.script import Chances

SURE, UNSURE = 0.98, 0.4
"""The chance of what is written; two others share the rest. Confidences of 3 alternatives: 3.08 and 1.11."""


def said(text: str, chance: float = SURE) -> tuple[Chances, ...]:
    """The text, token by token."""
    rest = (1 - chance) / 2
    return tuple({chunk: chance, f"{chunk}?": rest, f"{chunk}!": rest} for chunk in re.findall(r"\s?\S{1,4}|\s", text))
