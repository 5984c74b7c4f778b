"""Wrong solutions: as a careless solver writes them, each mistake carried on by what is computed from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from random import Random

from reasonflow.errors import InputError
from reasonflow.evals.tasks import tokens
from reasonflow.evals.tasks.chance import between, pick
from reasonflow.evals.tasks.constraints import System, tied
from reasonflow.evals.tasks.graph import LARGEST, Graph, apply, numbers
from reasonflow.evals.tasks.reading import final_answer
from reasonflow.evals.tasks.solutions import direct, in_order

_TRIES = 12
_STEPS = (1, 1, 2, 10, 10, 100)
"""How far a slip is off: in one digit, or by a carry that was forgotten or made twice."""
_SWAPPED = 0.2
"""Share of slips that exchange two digits."""
_LEFT_OUT = 0.15
"""Share of mistakes in a graph that drop a line: what needs it takes another value."""
_SLIPPED, _OPERAND = 0.2, 0.9
"""Cumulative shares of the other mistakes that are slips in a result, and wrong operands; the rest are wrong signs.
Of a trained model's own first mistakes 70 % were wrong expressions, most with another quantity's value, 21 % slips."""
_TAKEN, _IN_LINE = 0.35, 0.85
"""Cumulative shares of the mistakes in a search that take a wrong candidate, and that are slips in a line; the rest
are slips in the box."""


def mistaken(content: Graph | System, random: Random, mistakes: int = 1) -> str:
    """A solution in a random order with so many mistakes, whose boxed answer is wrong.

    Values stay from 0 to LARGEST: where a mistake leads out of that, or to a fraction, the solver writes the nearest
    whole number. There are fewer mistakes where the solution has fewer places for them. Raises InputError below 1.
    """
    if mistakes < 1:
        raise InputError(f"mistakes={mistakes} asks for a right solution", fix="use solution, or at least one mistake")
    for _ in range(_TRIES):
        if isinstance(content, System):
            text = _wrong_search(content, random, mistakes)
        else:
            text = _wrong_lines(content, random, mistakes)
        if final_answer(text) != content.answer:
            return text
    head, _, _ = text.rpartition("\n")  # the mistakes had no effect on the answer each time: at least the box is wrong
    return f"{head}\n{direct(slipped(content.answer, random))}"


def slipped(value: int, random: Random) -> int:
    """Another number from 0 to LARGEST, near in its digits: one is off, or two have changed places."""
    if value > 9 and random.random() < _SWAPPED:
        digits = list(str(value))
        place = between(random, 0, len(digits) - 2)
        digits[place], digits[place + 1] = digits[place + 1], digits[place]
        swapped = int("".join(digits))
        if swapped != value:
            return swapped
    step = pick(random, _STEPS)
    up = value + step <= LARGEST and (value < step or random.random() < 0.5)
    return value + step if up else value - step


def cut(text: str, limit: int) -> str:
    """The text up to this many tokens, as a call's cap leaves it: maybe in the middle of a number."""
    if limit < 1:
        return ""
    if len(text) <= limit:  # no token is shorter than a character
        return text
    found = tokens.spans(text)
    return text if len(found) <= limit else text[: found[limit - 1][1]]


def _places(random: Random, places: int, mistakes: int) -> set[int]:
    found: set[int] = set()
    while len(found) < min(mistakes, places):
        found.add(between(random, 0, places - 1))
    return found


def _computed(sign: str, made: Sequence[int]) -> int:
    """What a solver makes of numbers that earlier mistakes may have changed."""
    result = apply(sign, *made) if sign else made[0]
    if result is None:  # a division that leaves a rest now
        result = made[0] // made[1]
    return min(max(result, 0), LARGEST)


def _wrong_lines(graph: Graph, random: Random, mistakes: int) -> str:
    order = in_order(graph.needed, random)
    where = _places(random, len(order) + 1, mistakes)  # one place past the lines is the box
    said: dict[str, int] = {}
    lines = []
    for place, quantity in enumerate(order):
        name, sign, made = quantity.name, str(quantity.sign), numbers(quantity, said)
        result = _computed(sign, made)
        if place in where:
            if said and name != graph.asked and random.random() < _LEFT_OUT:
                said[name] = pick(random, list(said.values()))
                continue
            sign, made, result = _spoiled(sign, made, result, said, graph, random)
        said[name] = result
        lines.append(_line(name, sign, made, result))
    answer = said[graph.asked]
    if len(order) in where:
        answer = pick(random, list(said.values())) if random.random() < 0.5 else slipped(answer, random)
    return "\n".join([*lines, direct(answer)])


def _line(name: str, sign: str, made: Sequence[int], result: int) -> str:
    written = f"{made[0]} {sign} {made[1]}" if sign else f"{made[0]}"
    return f"{name} = {written} = {result}"


def _spoiled(
    sign: str, made: list[int], result: int, said: Mapping[str, int], graph: Graph, random: Random
) -> tuple[str, list[int], int]:
    """The same line with a mistake: in its result, in one of its operands, or in its sign."""
    draw = random.random()
    if not sign:  # misread: a digit, or the sentence
        other = slipped(made[0], random) if draw < _SLIPPED else pick(random, _stated(graph))
        return sign, [other], other
    if draw < _SLIPPED:
        return sign, made, slipped(result, random)
    if draw < _OPERAND:
        made = _other_operand(sign, made, said, graph, random)
    elif sign in "+-":
        sign = "-" if sign == "+" else "+"
    else:
        sign = "/" if sign == "*" else "*"
    return sign, made, _computed(sign, made)


def _other_operand(sign: str, made: list[int], said: Mapping[str, int], graph: Graph, random: Random) -> list[int]:
    """The numbers with one replaced: by a slip, by another quantity's value, by a number of another sentence."""
    place = 0 if sign in "*/" else between(random, 0, 1)  # factors and divisors stay of one digit
    draw = random.random()
    if draw < 0.2:
        other = slipped(made[place], random)
    else:
        other = pick(random, list(said.values()) if draw < 0.75 and said else _stated(graph))
    return [other, made[1]] if place == 0 else [made[0], other]


def _stated(graph: Graph) -> list[int]:
    """The numbers that stand in the problem."""
    return [operand for quantity in graph.quantities for operand in quantity.operands if isinstance(operand, int)]


def _wrong_search(system: System, random: Random, mistakes: int) -> str:
    """A search as `constraints.search` writes it that slips, ends too early or boxes wrongly.

    A slip may hide the right candidate: then the search goes on, and ends with the last one at the latest.
    """
    candidates = system.candidates()
    start = between(random, 0, len(candidates) - 1)
    rounds = (candidates.index(system.solution[0]) - start) % len(candidates) + 1
    size = len(system.unknowns) + 1  # lines of a candidate
    last, slips, boxed = len(candidates), set[int](), False
    for _ in range(mistakes):
        draw = random.random()
        if draw < _TAKEN and rounds > 1:
            last = min(last, between(random, 1, rounds - 1))
        elif draw < _IN_LINE:
            slips.add(between(random, 0, size * rounds - 1))
        else:
            boxed = True
    lines, values = _searched(system, start, last, slips, random)
    answer = values[system.unknowns.index(system.asked)]
    return "\n".join([*lines, direct(slipped(answer, random) if boxed else answer)])


def _searched(system: System, start: int, most: int, slips: set[int], random: Random) -> tuple[list[str], list[int]]:
    """The lines of a search over at most so many candidates that slips in these lines; and the values it ends with."""
    candidates, low = system.candidates(), system.constraints[0].numbers[0]
    divisor, wanted = system.constraints[-1].numbers
    lines: list[str] = []

    def write(name: str, left: int, sign: str, right: int) -> int:
        result = _computed(sign, (left, right))
        if len(lines) in slips:
            result = (result + between(random, 1, divisor - 1)) % divisor if sign == "%" else slipped(result, random)
        lines.append(_line(name, sign, (left, right), result))
        return result

    first, step = low, candidates[start] - low
    for turn in range(start, start + most):
        values = [write(system.unknowns[0], first, "+", step)]
        for tie, (before, name) in zip(system.constraints[2:-1], pairwise(system.unknowns), strict=True):
            values.append(write(name, *tied(tie, before, values[-1])))
        if write("rest", values[-1], "%", divisor) == wanted:
            break
        # Past the last candidate the search begins again at the lowest one.
        wraps = (turn + 1) % len(candidates) == 0
        first, step = (low, candidates[0] - low) if wraps else (values[0], candidates.step)
    return lines, values
