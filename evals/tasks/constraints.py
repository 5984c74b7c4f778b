"""The second kind of problem: unknowns under constraints. Finding them takes a search, checking them a substitution.

The first unknown lies in a range and leaves a known rest; each further one is tied to the one before it; the last one
leaves a known rest by another divisor. As many numbers as the second divisor says satisfy all but the last constraint,
and exactly one of them satisfies that too, since the divisors have no common factor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import Literal, TypeAlias

from reasonflow.errors import InputError
from reasonflow.evals.tasks.chance import between, pick
from reasonflow.evals.tasks.graph import LARGEST
from reasonflow.evals.tasks.knobs import ConstraintKnobs
from reasonflow.evals.tasks.lexicon import LEXICONS, WORDS
from reasonflow.evals.tasks.shape import Shape, mix
from reasonflow.evals.tasks.solutions import direct
from reasonflow.evals.tasks.wording import assemble, sentence

Kind: TypeAlias = Literal["range", "rest", "total", "more"]
_CODES: Mapping[Kind, int] = {"range": 13, "rest": 17, "total": 19, "more": 23}
_TRIES = 1_000


@dataclass(frozen=True, slots=True)
class Constraint:
    """One condition.

    range: the number lies from the first to the second number. rest: divided by the first it leaves the second.
    total: the two names together are the number. more: the first name is the second one and the number.
    """

    kind: Kind
    names: tuple[str, ...]
    numbers: tuple[int, ...]

    def holds(self, values: Mapping[str, int]) -> bool:
        """Whether these values satisfy it; a name without a value does not."""
        if any(name not in values for name in self.names):
            return False
        first, *second = (values[name] for name in self.names)
        if self.kind == "range":
            return self.numbers[0] <= first <= self.numbers[1]
        if self.kind == "rest":
            return first % self.numbers[0] == self.numbers[1]
        return first + second[0] == self.numbers[0] if self.kind == "total" else first == second[0] + self.numbers[0]

    def check(self, values: Mapping[str, int]) -> str:
        """The substitution as a line that ends in `holds` or `fails`. Every name must have a value."""
        first, *second = (values[name] for name in self.names)
        if self.kind == "range":
            written = f"{self.numbers[0]} <= {first} <= {self.numbers[1]}"
        elif self.kind == "rest":
            written = f"{first} % {self.numbers[0]} = {first % self.numbers[0]}"
        elif self.kind == "total":
            written = f"{first} + {second[0]} = {first + second[0]}"
        else:
            written = f"{second[0]} + {self.numbers[0]} = {second[0] + self.numbers[0]}"
        return f"{written} {'holds' if self.holds(values) else 'fails'}"


@dataclass(frozen=True, slots=True)
class System:
    """Constraints, the one solution they have, and which unknown is asked for."""

    unknowns: tuple[str, ...]
    constraints: tuple[Constraint, ...]
    """range and rest of the first unknown, the ties in order, the rest of the last unknown."""
    asked: str
    solution: tuple[int, ...]
    """In the order of the unknowns; every number from 0 to LARGEST."""

    @property
    def answer(self) -> int:
        """The value of the asked unknown."""
        return self.values()[self.asked]

    def values(self) -> dict[str, int]:
        """Name to value."""
        return dict(zip(self.unknowns, self.solution, strict=True))

    def candidates(self) -> range:
        """What the first unknown can be by its own two constraints, or by the first two where it is the only one."""
        (low, high), (divisor, rest) = self.constraints[0].numbers, self.constraints[1].numbers
        return range(low + (rest - low) % divisor, high + 1, divisor)

    def follow(self, first: int) -> list[int]:
        """All unknowns, if the first one has this value: by the ties alone."""
        found = [first]
        for tie, (before, _) in zip(self.constraints[2:-1], pairwise(self.unknowns), strict=True):
            left, sign, right = tied(tie, before, found[-1])
            found.append(left + right if sign == "+" else left - right)
        return found


def draw_system(knobs: ConstraintKnobs, random: Random) -> System:
    """A system as the knobs say; equal for an equal state of `random`. Raises InputError where no divisors fit."""
    least, greatest = knobs.divisors
    pairs = [(a, b) for a in range(least, greatest + 1) for b in range(least, greatest + 1) if math.gcd(a, b) == 1]
    if not pairs:
        raise InputError(
            f"divisors={least}..{greatest} holds no two without a common factor", fix="write for example divisors=4..9"
        )
    for _ in range(_TRIES):
        system = _draw(knobs, pick(random, pairs), random)
        # A candidate that turns out wrong is written down too: it must stay in range as the right one does.
        if all(0 <= value <= LARGEST for first in system.candidates() for value in system.follow(first)):
            return system
    raise InputError(f"no system of {knobs.unknowns[1]} unknowns was found", fix="lower unknowns")


def shape_of_system(system: System) -> Shape:
    """Kinds, ties and divisors, whatever the names and other numbers are. The depth is the number of unknowns."""
    code = 0
    for constraint in system.constraints:
        place = system.unknowns.index(constraint.names[0])
        divisor = constraint.numbers[0] if constraint.kind == "rest" else 0
        code = mix(code, mix(place, divisor, _CODES[constraint.kind]), 29)
    return Shape(code, 1, len(system.unknowns))


def describe_system(system: System, random: Random, *, held: bool, shuffled: bool) -> str:
    """The problem in words: a sentence for each constraint, and the question."""
    sentences = [
        sentence(constraint.kind, constraint.names[0], (*constraint.names[1:], *constraint.numbers), random, held)
        for constraint in system.constraints
    ]
    return assemble(sentences, system.asked, random, held=held, shuffled=shuffled)


def search(system: System, random: Random) -> str:
    """A solution: candidates from a random one upwards and round, each followed through the ties to the last rest.

    A name that is stated again has its latest value; where the search ends, these are the solution.
    """
    candidates = system.candidates()
    low, step = system.constraints[0].numbers[0], candidates.step
    index = between(random, 0, len(candidates) - 1)
    divisor, wanted = system.constraints[-1].numbers
    first = candidates[index]
    lines = [f"{system.unknowns[0]} = {low} + {first - low} = {first}"]
    while True:
        found = system.follow(first)
        for tie, (before, name), (known, value) in zip(
            system.constraints[2:-1], pairwise(system.unknowns), pairwise(found), strict=True
        ):
            left, sign, right = tied(tie, before, known)
            lines.append(f"{name} = {left} {sign} {right} = {value}")
        lines.append(f"rest = {found[-1]} % {divisor} = {found[-1] % divisor}")
        if found[-1] % divisor == wanted:
            return "\n".join([*lines, direct(system.answer)])
        index = (index + 1) % len(candidates)
        base, added = (first, step) if index else (low, candidates[0] - low)
        first = candidates[index]
        lines.append(f"{system.unknowns[0]} = {base} + {added} = {first}")


def verification(system: System, values: Mapping[str, int]) -> str:
    """The check of a claimed solution: a line for each constraint, then Yes if all hold, else No.

    Raises InputError where an unknown has no value.
    """
    missing = [name for name in system.unknowns if name not in values]
    if missing:
        raise InputError(f"the unknown {missing[0]!r} has no value", fix="claim a value for each of system.unknowns")
    lines = [constraint.check(values) for constraint in system.constraints]
    return "\n".join([*lines, "Yes" if all(c.holds(values) for c in system.constraints) else "No"])


def _draw(knobs: ConstraintKnobs, divisors: tuple[int, int], random: Random) -> System:
    words = LEXICONS[knobs.lexicon].draw(random, WORDS)
    names = tuple(next(words) for _ in range(between(random, *knobs.unknowns)))
    solution = tuple(between(random, 0, LARGEST) for _ in names)
    first, last = divisors
    size = first * last
    low = between(random, max(0, solution[0] - size + 1), min(solution[0], LARGEST + 1 - size))
    ties = [_tie(pair, values, random) for pair, values in zip(pairwise(names), pairwise(solution), strict=True)]
    constraints = (
        Constraint("range", names[:1], (low, low + size - 1)),
        Constraint("rest", names[:1], (first, solution[0] % first)),
        *ties,
        Constraint("rest", names[-1:], (last, solution[-1] % last)),
    )
    return System(names, constraints, pick(random, names), solution)


def _tie(names: tuple[str, str], values: tuple[int, int], random: Random) -> Constraint:
    """A sum where it stays in range, at even chances, else a difference."""
    if sum(values) <= LARGEST and random.random() < 0.5:
        return Constraint("total", names, (sum(values),))
    if values[0] >= values[1]:
        return Constraint("more", names, (values[0] - values[1],))
    return Constraint("more", names[::-1], (values[1] - values[0],))


def tied(tie: Constraint, before: str, value: int) -> tuple[int, Literal["+", "-"], int]:
    """The unknown that a tie binds to `before`, as an expression of that one's value: left, sign, right."""
    (number,) = tie.numbers
    if tie.kind == "total":
        return number, "-", value
    return value, "-" if tie.names[0] == before else "+", number
