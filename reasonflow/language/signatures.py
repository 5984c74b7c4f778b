"""The signature a program is given: DSPy's own, with errors that say what is wrong with it."""

from __future__ import annotations

import inspect
from typing import Any

import dspy

from reasonflow.errors import InputError


def read_signature(signature: Any) -> type[dspy.Signature]:
    """`signature`, a text or a class, as DSPy's class. Raises InputError for anything else, and without outputs."""
    if isinstance(signature, str) and "->" in signature:
        try:
            declared = dspy.Signature(signature)
        except (ValueError, SyntaxError, NameError, TypeError) as error:
            raise InputError(
                f"{signature!r} is not a signature",
                why=str(error).partition(" (<unknown>")[0],
                fix='write inputs -> outputs, names separated by commas: "problem, hint -> answer: int"',
            ) from error
    elif isinstance(signature, str):
        raise _without_outputs(signature)
    elif inspect.isclass(signature) and issubclass(signature, dspy.Signature):
        declared = signature
    else:
        raise InputError(
            f"a signature is a text or a dspy.Signature class, not {type(signature).__name__}",
            fix='write for example "problem -> answer"',
        )
    if not declared.output_fields:
        raise _without_outputs(declared.signature)
    read: type[dspy.Signature] = declared
    return read


def _without_outputs(signature: str) -> InputError:
    return InputError(
        f"the signature {signature!r} has no outputs",
        why="a call that gives nothing cannot be used by anything",
        fix='name one after an arrow: "problem -> answer"',
    )
