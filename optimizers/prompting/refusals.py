"""What cannot be tuned, said before anything is spent."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import dspy

from reasonflow.errors import InputError, UnknownName
from reasonflow.language.program import Program
from reasonflow.optimizers.compile_data import check_apart, check_examples
from reasonflow.optimizers.compile_request import check_budget
from reasonflow.optimizers.prompting.optimizers import BY, REFLECTING


def check(program: Any, by: str, budget: Any, lm: Any, reflection_lm: Any) -> None:
    """Raise InputError or UnknownName."""
    if not isinstance(program, Program):
        raise InputError(f"{type(program).__name__} cannot be tuned", fix="pass a reasonflow.Program")
    if not program.named_predictors():
        raise InputError(
            f"{type(program).__name__} has nothing to tune",
            why="it has no call site of its own: DSPy's optimizers change instructions and demos",
            fix="make the sites attributes of the program, and leave compiled parts open (_compiled = False)",
        )
    if by not in BY:
        raise UnknownName.among("optimizer of prompts", str(by), BY)
    check_budget(budget, lm)
    if by in REFLECTING and reflection_lm is not None and not isinstance(reflection_lm, dspy.BaseLM):
        raise InputError(
            f"reflection_lm={reflection_lm!r} is no language model",
            why=f"{by} has one write instructions",
            fix='reflection_lm=rf.vllm(...) or dspy.LM("provider/model"), or leave it out for the program\'s own',
        )


def divided(
    program: Program, trainset: Sequence[dspy.Example], valset: Sequence[dspy.Example] | None, seed: int
) -> tuple[list[dspy.Example], list[dspy.Example]]:
    """(what is learnt from, what candidates are measured on), checked; halves of the trainset without a valset."""
    check_examples(program, trainset, "trainset")
    if valset is not None:
        check_examples(program, valset, "valset")
        check_apart(trainset, valset)
        return list(trainset), list(valset)
    if len(trainset) < 2:
        raise InputError(
            "one example cannot be learnt from and measured on",
            why="a demo that is measured on itself is always right",
            fix="give more examples, or a valset",
        )
    shuffled = list(trainset)
    random.Random(seed).shuffle(shuffled)
    half = len(shuffled) // 2
    return shuffled[:half], shuffled[half:]
