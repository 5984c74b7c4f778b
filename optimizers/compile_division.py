"""Which examples a compile uses for what: none of them twice where the second use would believe the first too much.

Prompts learn from some; settings and prompts are measured on others; gates are calibrated on a third kind that neither
has seen, since a threshold found on examples that a prompt was fitted to would promise too much.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dspy

from reasonflow.errors import InputError
from reasonflow.optimizers.compile_data import check_apart, check_examples, examples_digest, key_of
from reasonflow.optimizers.compile_request import Request
from reasonflow.optimizers.gates import check_share, fewest

ASIDE = 1 / 3
"""Of the examples, kept aside for the gates where something else is optimized, too."""
LEARNT = 1 / 2
"""Of the rest, for prompts to learn from where no valset says what they are measured on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """The examples by what they are for, each in the order in which they are met."""

    learn: tuple[dspy.Example, ...]
    """Prompts are made from these; none where prompts stay."""
    measured: tuple[dspy.Example, ...]
    """Prompts and settings are measured on these; none where neither is optimized."""
    aside: tuple[dspy.Example, ...]
    """Gates are calibrated on these; none where they stay."""
    test: tuple[dspy.Example, ...]
    """Nothing is done with these; they are not among the others."""

    def to_json(self) -> dict[str, Any]:
        """Of each kind how many and a digest; nothing of kinds without any."""
        kinds = {"learn": self.learn, "measured": self.measured, "aside": self.aside, "test": self.test}
        return {
            name: {"examples": len(found), "digest": examples_digest(found)} for name, found in kinds.items() if found
        }

    @property
    def used(self) -> list[str]:
        """Marks of all that the compile has seen, by which a later test knows them again: see `mark`."""
        return sorted({mark(example.inputs().toDict()) for example in (*self.learn, *self.measured, *self.aside)})

    def __str__(self) -> str:
        words = {
            "for prompts to learn from": self.learn,
            "to measure on": self.measured,
            "kept aside for the gates": self.aside,
            "kept for a test": self.test,
        }
        return ", ".join(f"{len(found)} {what}" for what, found in words.items() if found)


def mark(inputs: dict[str, Any]) -> str:
    """A hash of an example's inputs."""
    return hashlib.sha256(key_of(inputs).encode()).hexdigest()[:12]


def divided(asked: Request) -> Division:
    """The examples of a compile, divided by its seed.

    Raises InputError for sets without examples, examples that stand in two of them or twice, and too few for what they
    are for.
    """
    trainset, valset, testset = asked.trainset, asked.valset, asked.testset
    check_examples(asked.program, trainset, "trainset")
    if valset is not None:
        check_examples(asked.program, valset, "valset")
        check_apart(trainset, valset)
    if testset is not None:
        check_examples(asked.program, testset, "testset")
        check_apart([*trainset, *(valset or ())], testset, "testset")
    train, measured = _shuffled(trainset, asked.seed), None if valset is None else _shuffled(valset, asked.seed)
    aside: list[dspy.Example] = []
    if asked.optimize == ("gates",):
        train, measured, aside = [], [], [*train, *(measured or ())]
    elif "gates" in asked.optimize:
        train, aside = _parted(train, ASIDE)
        if measured is not None:
            measured, more = _parted(measured, ASIDE)
            aside += more
    if "gates" in asked.optimize:
        _check_enough(asked, len(aside))
    learn: list[dspy.Example] = []
    if "prompts" in asked.optimize:
        learn, measured = (train, measured) if measured is not None else _parted(train, 1 - LEARNT)
        if not learn or not measured:
            raise InputError(
                f"{len(trainset)} examples leave none to learn from or none to measure on",
                why=f"a share of {ASIDE:.0%} is kept aside for gates, and half of the rest to measure on",
                fix="give more examples, or a valset",
            )
    return Division(
        learn=tuple(learn),
        measured=tuple(train if measured is None else measured),
        aside=tuple(aside),
        test=tuple(testset or ()),
    )


def _check_enough(asked: Request, aside: int) -> None:
    """Raises InputError where so few examples could calibrate no gate, even without an error among them."""
    check_share("alpha", asked.alpha)
    check_share("delta", asked.delta)
    least, alone = fewest(asked.alpha, asked.delta), asked.optimize == ("gates",)
    if aside < least:
        given = len(asked.trainset) + len(asked.valset or ())
        raise InputError(
            f"{aside} of {given} examples are for the gates; to show that at most {asked.alpha:g} of what passes is"
            f" wrong takes {least}, even without an error",
            why=f"at confidence {1 - asked.delta:g}"
            + ("" if alone else f"; a share of {ASIDE:.0%} is kept aside, which prompts and topology do not see"),
            fix=f"give {least if alone else math.ceil(least / ASIDE) + 1} examples or more (some 500 for the gates "
            "come near the best threshold), or a larger alpha or delta",
        )


def _shuffled(examples: Sequence[dspy.Example], seed: int) -> list[dspy.Example]:
    found = list(examples)
    random.Random(seed).shuffle(found)  # the first block of a trial decides: it must be like the rest
    return found


def _parted(examples: list[dspy.Example], share: float) -> tuple[list[dspy.Example], list[dspy.Example]]:
    """The rest, and this share of them."""
    keep = len(examples) - round(share * len(examples))
    return examples[:keep], examples[keep:]
