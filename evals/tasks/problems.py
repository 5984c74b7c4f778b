"""The family as a benchmark: problems by name, split, seed and index, each made again from its address alone.

`graphmath`, `graphmath:breadth`, `graphmath:mid,width=8,depth=3..5,split=extrapolation,seed=1`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from hashlib import blake2b
from itertools import count
from random import Random
from typing import Any, TypeAlias

import dspy

from reasonflow.errors import InputError, UnknownName
from reasonflow.evals.dataset import Problem
from reasonflow.evals.tasks import splits
from reasonflow.evals.tasks.chance import pick
from reasonflow.evals.tasks.constraints import System, describe_system, draw_system, search, shape_of_system
from reasonflow.evals.tasks.graph import Graph
from reasonflow.evals.tasks.grow import grow
from reasonflow.evals.tasks.knobs import DEFAULT_MIX, AnyKnobs, Knobs, mix_named
from reasonflow.evals.tasks.lookups import Lookup, draw_lookups, in_order_of
from reasonflow.evals.tasks.shape import hash_of, shape_of
from reasonflow.evals.tasks.solutions import solution
from reasonflow.evals.tasks.splits import Split, split_of, split_of_hash
from reasonflow.evals.tasks.wording import describe

NAME = "graphmath"
_TRIES = 2_000
_EXAMPLE = f"{NAME}:mid,width=8,depth=3..5,split=test,seed=1"

Content: TypeAlias = Graph | System


@dataclass(frozen=True, slots=True)
class Source:
    """An endless row of problems."""

    label: str
    """`graphmath:MIX` with the options that change it."""
    mix: tuple[AnyKnobs, ...]
    split: Split
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Item:
    """One problem with all that is known about it."""

    address: str
    """Makes the same item again, in any process: `item_at(item.address)`."""
    text: str
    content: Content
    lookups: tuple[Lookup, ...] = ()
    """Of the given quantities whose numbers the text leaves out, in its order."""

    @property
    def answer(self) -> int:
        """What is asked for."""
        return self.content.answer

    def solution(self, random: Random) -> str:
        """A right solution; another state of `random` gives another order of its lines."""
        return solution(self.content, random) if isinstance(self.content, Graph) else search(self.content, random)


def is_named(benchmark: str) -> bool:
    """Whether a benchmark's name is one of this family."""
    return benchmark.partition(",")[0].partition(":")[0] == NAME


def parse_source(name: str) -> Source:
    """The source that `graphmath:MIX,option=value,...` spells. Raises InputError, UnknownName."""
    source, index = _parse(name)
    if index is not None:
        raise InputError(f"{name!r} names one problem", fix="drop its index, or use item_at")
    return source


def item_at(address: str) -> Item:
    """The item with this address. Raises InputError, UnknownName."""
    source, index = _parse(address)
    if index is None:
        raise InputError(f"{address!r} names a row of problems", fix=f"add an index: {address},index=0")
    return item(source, index)


def item(source: Source, index: int) -> Item:
    """The problem at this place, from 0. Raises InputError where the split has none of such knobs."""
    address = f"{source.label},split={source.split},seed={source.seed},index={index}"
    random = Random(int.from_bytes(blake2b(address.encode(), digest_size=8).digest(), "big"))
    knobs = source.mix[0] if len(source.mix) == 1 else pick(random, source.mix)
    held = source.split == "test"
    for _ in range(_TRIES):
        if isinstance(knobs, Knobs):
            graph = grow(knobs, random)
            if _split_of_graph(graph, knobs) == source.split:
                lookups = draw_lookups(graph, knobs, random)
                houses = {lookup.name: lookup.house for lookup in lookups}
                text = describe(graph, random, held=held, shuffled=knobs.shuffle, houses=houses)
                return Item(address, text, graph, in_order_of(text, lookups))
        else:
            system = draw_system(knobs, random)
            if _split_of_system(system) == source.split:
                return Item(address, describe_system(system, random, held=held, shuffled=knobs.shuffle), system)
    raise InputError(
        f"{source.label} has no problem in the split {source.split!r}",
        why=f"none of {_TRIES} shapes belongs to it; extrapolation is wider than {splits.WIDEST} parts or deeper than "
        f"{splits.DEEPEST} quantities, or has more than {MOST_UNKNOWNS} unknowns, and the other splits are not",
        fix="choose another split, or other knobs",
    )


def stream(source: Source, start: int = 0) -> Iterator[Item]:
    """The items from this index on, without end."""
    return (item(source, index) for index in count(start))


def generate(name: str, *, size: int, seed: int | None = None) -> list[Problem]:
    """The first problems of a source. seed: in place of the one in the name. Raises InputError, UnknownName."""
    source = parse_source(name)
    source = source if seed is None else replace(source, seed=seed)
    return [_problem(item(source, index)) for index in range(size)]


def examples(name: str, *, size: int) -> list[dspy.Example]:
    """The first problems of a source, as `rf.evaluate` takes them with the metric `share_right`."""
    source = parse_source(name)
    return [
        dspy.Example(problem=found.text, answer=str(found.answer), address=found.address).with_inputs("problem")
        for found in (item(source, index) for index in range(size))
    ]


MOST_UNKNOWNS = 4
"""Of a system that is not extrapolation."""


def _split_of_graph(graph: Graph, knobs: Knobs) -> Split:
    if splits.may_exceed(knobs.width[1], knobs.depth[1]):
        return split_of(shape_of(graph))
    return split_of_hash(hash_of(graph))  # half the work


def _split_of_system(system: System) -> Split:
    shape = shape_of_system(system)
    return "extrapolation" if shape.depth > MOST_UNKNOWNS else split_of_hash(shape.hash)


def _problem(found: Item) -> Problem:
    # The answer is a whole number: comparing it as mathematics is exact.
    return Problem(
        id=found.address,
        inputs={"problem": found.text},
        answer=str(found.answer),
        source=found.address.partition(",")[0],
        grading={"address": found.address},
    )


def _parse(name: str) -> tuple[Source, int | None]:
    head, *words = name.split(",")
    if not is_named(head):
        raise InputError(f"{name!r} is no benchmark of the family {NAME}", fix=f"write for example {_EXAMPLE}")
    mix_name = head.partition(":")[2] or DEFAULT_MIX
    mix = mix_named(mix_name)
    options = dict(_option(word, name) for word in words)
    seed, index = _whole(options.pop("seed", "0"), "seed"), options.pop("index", None)
    split = options.pop("split", "extrapolation" if mix_name == "extrapolation" else "test")
    label = ",".join([f"{NAME}:{mix_name}", *(f"{option}={options[option]}" for option in sorted(options))])
    source = Source(label, tuple(_turned(knobs, options) for knobs in mix), splits.checked(split), seed)
    return source, None if index is None else _whole(index, "index")


def _option(word: str, name: str) -> tuple[str, str]:
    option, equals, text = word.partition("=")
    if not equals:
        raise InputError(f"{word!r} in {name!r} is not of the form option=value", fix=f"write for example {_EXAMPLE}")
    return option.strip(), text.strip()


def _turned(knobs: AnyKnobs, options: dict[str, str]) -> AnyKnobs:
    known = [field.name for field in fields(knobs)]
    changed: dict[str, Any] = {}
    for option, text in options.items():
        if option not in known:
            raise UnknownName.among(f"option of {NAME}", option, [*known, "split", "seed"])
        changed[option] = _value(option, text, getattr(knobs, option))
    return replace(knobs, **changed)


def _value(option: str, text: str, example: Any) -> Any:
    """The text as a value of the example's type."""
    if isinstance(example, bool):
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        raise InputError(f"{option}={text} is neither true nor false", fix=f"write for example {option}=true")
    if isinstance(example, tuple):
        low, dots, high = text.partition("..")
        return _whole(low, option), _whole(high if dots else low, option)
    if isinstance(example, int):
        return _whole(text, option)
    if isinstance(example, float):
        try:
            return float(text)
        except ValueError as error:
            raise InputError(f"{option}={text} is no number", fix=f"write for example {option}={example}") from error
    return text


def _whole(text: str, option: str) -> int:
    if text.isdecimal():
        return int(text)
    raise InputError(f"{option}={text!r} is no whole number", fix=f"write for example {option}=3")
