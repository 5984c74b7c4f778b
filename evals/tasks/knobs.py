"""How hard a problem is: separate knobs, and named mixes of their settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from reasonflow.errors import InputError, UnknownName
from reasonflow.evals.tasks.graph import LARGEST
from reasonflow.evals.tasks.lexicon import LEXICONS, WORDS

Span: TypeAlias = tuple[int, int]
"""The least and the greatest value; every one between is equally likely."""

MOST = 32
"""No knob that counts goes further."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs:
    """Of a dependency graph. Raises InputError, UnknownName for settings that make no problem."""

    width: Span = (3, 4)
    """Independent parts."""
    depth: Span = (3, 5)
    """Quantities on the chain of each part, the given one at its beginning included."""
    largest: int = LARGEST
    """No value in the problem is larger."""
    distractors: Span = (0, 0)
    """Quantities that the asked one does not depend on."""
    branching: float = 0.25
    """Share of the sums and differences in a chain whose second operand is a given quantity, not a number."""
    sharing: float = 0.1
    """Chance, at each place of a chain, that a quantity is used twice: by the next one and by the one after."""
    shuffle: bool = True
    """Whether sentences come in random order, not part by part."""
    words: Span = (WORDS, WORDS)
    """First words that names are made of, and as many second ones. Fewer than there are quantities: names share words,
    and only both of them tell which is meant."""
    lexicon: str = "market"
    missing: Span = (0, 0)
    """Given quantities that the asked one depends on and whose numbers the text leaves out: it says in which house they
    stand, and a corpus says the rest. As many as there are, where there are fewer."""
    hops: Span = (1, 1)
    """Look-ups behind each other that it takes to find such a number: all but the last say where to look next."""

    def __post_init__(self) -> None:
        _check_span("missing", self.missing, 0)
        _check_span("hops", self.hops, 1)
        _check_span("width", self.width, 1)
        _check_span("depth", self.depth, 1)
        _check_span("distractors", self.distractors, 0)
        if not 9 <= self.largest <= LARGEST:
            raise InputError(
                f"largest={self.largest} is outside of 9 to {LARGEST}", fix="values have one to three digits"
            )
        for name in ("branching", "sharing"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name}={getattr(self, name)} is no share", fix="use a number from 0 to 1")
        _check_lexicon(self.lexicon)
        _check_span("words", self.words, 1, WORDS)
        if self.width[1] * self.depth[1] * 2 + self.distractors[1] > self.words[0] ** 2:
            raise InputError(
                f"width={self.width[1]} with depth={self.depth[1]} may need more names than there are",
                why=f"{self.words[0]} first words with {self.words[0]} second ones make {self.words[0] ** 2}",
                fix="lower one of the two, or allow more words",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ConstraintKnobs:
    """Of a system of constraints. Raises InputError, UnknownName for settings that make no problem."""

    unknowns: Span = (2, 3)
    """Quantities to find; each is tied to the one before it by a sum or a difference."""
    divisors: Span = (4, 9)
    """The two divisors, which have no common factor: a solver tries as many candidates as the second one says."""
    shuffle: bool = True
    """Whether sentences come in random order."""
    lexicon: str = "market"

    def __post_init__(self) -> None:
        _check_span("unknowns", self.unknowns, 1)
        _check_span("divisors", self.divisors, 2)
        _check_lexicon(self.lexicon)
        if self.divisors[1] > 9 or self.divisors[1] == self.divisors[0]:
            raise InputError(
                f"divisors={self.divisors[0]}..{self.divisors[1]} holds no two divisors of one digit",
                fix="write for example divisors=4..9",
            )


def _check_span(name: str, span: Span, least: int, most: int = MOST) -> None:
    low, high = span
    if not least <= low <= high <= most:
        raise InputError(
            f"{name}={low}..{high} is no span",
            why=f"it goes from its least to its greatest value, inside of {least} to {most}",
            fix=f"write for example {name}={max(least, 3)} or {name}={max(least, 3)}..{max(least, 3) + 2}",
        )


def _check_lexicon(name: str) -> None:
    if name not in LEXICONS:
        raise UnknownName.among("lexicon", name, LEXICONS)


AnyKnobs: TypeAlias = Knobs | ConstraintKnobs

MIXES: Mapping[str, tuple[AnyKnobs, ...]] = {
    "easy": (Knobs(width=(2, 2), depth=(2, 3), shuffle=False),),
    "mid": (Knobs(width=(3, 4), depth=(3, 5), distractors=(0, 2)),),
    "hard": (Knobs(width=(4, 6), depth=(5, 8), distractors=(2, 4)),),
    # `mid` among quantities that are of no use: a small model goes wrong here and there, and samples differ in where.
    "noise": (Knobs(width=(3, 4), depth=(3, 5), distractors=(4, 6)),),
    # Many short parts: one draft seldom has all of them right, several have each of them right.
    "breadth": (Knobs(width=(6, 8), depth=(2, 3), distractors=(6, 8)),),
    # Few long parts: the solution does not fit the cap of one call.
    "length": (Knobs(width=(2, 3), depth=(7, 9)),),
    # Little enough to be computed without writing.
    "direct": (Knobs(width=(1, 2), depth=(1, 3)),),
    # Every part is worth a thread.
    "threads": (Knobs(width=(3, 6), depth=(7, 9)),),
    # Facts stand in a corpus, some of them behind others.
    "search": (Knobs(width=(3, 5), depth=(2, 3), distractors=(0, 2), missing=(2, 5), hops=(1, 3)),),
    # Half ask for a step or two, a sixth for two or three, and a third for numbers that only a tool knows.
    "tools": (
        *[Knobs(width=(1, 1), depth=(2, 3), distractors=(0, 3))] * 3,
        Knobs(width=(2, 2), depth=(1, 2), distractors=(0, 2)),
        *[Knobs(width=(1, 2), depth=(2, 3), distractors=(0, 2), missing=(1, 2))] * 2,
    ),
    "extrapolation": (Knobs(width=(11, 14), depth=(3, 6)), Knobs(width=(3, 6), depth=(13, 16))),
    "constraints": (ConstraintKnobs(),),
}
"""Name to settings; where there are several, each problem draws one of them."""
DEFAULT_MIX = "mid"


def mix_named(name: str) -> tuple[AnyKnobs, ...]:
    """The settings of this name. Raises UnknownName."""
    if name not in MIXES:
        raise UnknownName.among("mix of graphmath", name, MIXES)
    return MIXES[name]
