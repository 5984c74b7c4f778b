"""A signature's instructions, as far as somebody wrote them."""

from __future__ import annotations

import inspect
import re

import dspy

# What DSPy writes for a signature without a docstring. It names fields a free-form prompt does not show.
_DEFAULT = re.compile(r"Given the fields (`\w+`(, )?)*, produce the fields (`\w+`(, )?)+\.")


def custom_instructions(signature: type[dspy.Signature]) -> str:
    """The instructions, or nothing where they are DSPy's own default sentence."""
    instructions = inspect.cleandoc(signature.instructions or "")
    return "" if _DEFAULT.fullmatch(instructions) else instructions
