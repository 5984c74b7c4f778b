"""The plan: a frozen graph of a dozen node kinds whose bodies are plans themselves.

Nodes stand in an order in which each comes after what it reads; `args` are positions in that order. Two plans are equal
when they would do the same: call sites compare by content, functions by identity.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, TypeVar

import dspy

from reasonflow.backends.protocol import Sampling
from reasonflow.gates.confidence import PrefixScore
from reasonflow.plan.budget import Budget
from reasonflow.plan.shapes import Shape
from reasonflow.prompts.layouts import Layout
from reasonflow.prompts.styles import Style

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """One call site as it stood when the program was traced."""

    name: str
    """Attribute path in the program: what DSPy calls the predictor."""
    signature: type[dspy.Signature]
    style: Style
    demos: tuple[Any, ...]
    sampling: Sampling
    """The site's own settings over those of its language model; None is left to the engine."""
    solution_tokens: int | None
    """How much of a record's text may flow into later prompts, counted from its end."""
    retries: int
    """How often a completion that cannot be parsed is asked for again."""
    adapter: dspy.Adapter | None
    floor_tokens: int
    """Output tokens below which the call is worth nothing: a budget never caps it lower."""
    weight: float
    """Its share of a budget's output tokens, relative to the other calls'."""
    key: Hashable = field(repr=False)
    """Content but for the layout: equal keys and layouts make equal calls."""
    layout: Layout = field(default_factory=Layout)
    """The order asked for; what it puts in front is found by `share_prefixes`."""
    continues: bool = False
    """Its records are contexts to go on from, and hold the text as it was written."""
    unmarked: tuple[str, ...] = ()
    """Texts that its inputs must not contain: marks of the structure that the program reads."""
    begins: bool = True
    """It has a prompt of its own; what only goes on from contexts has none."""
    watch: PrefixScore | None = None
    """What is computed of its samples while they are written, and of whole ones."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Site) and self.key == other.key and self.layout == other.layout

    def __hash__(self) -> int:
        return hash(self.key)


@dataclass(frozen=True, slots=True)
class Input:
    """A value handed in from outside: a program's argument, a body's parameter or a captured value."""

    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Const:
    """A value fixed when the program was traced."""

    value: Any

    def __eq__(self, other: object) -> bool:
        # by what it shows: 1 and True are equal to Python, and would be merged
        return isinstance(other, Const) and (self.value is other.value or repr(self.value) == repr(other.value))

    def __hash__(self) -> int:
        return hash(repr(self.value))


@dataclass(frozen=True, slots=True)
class Generate:
    """One model call, or a sampling group of `n`. Arguments: one per field, then the threshold of a gated call."""

    site: Site
    fields: tuple[str, ...]
    n: int | None = None
    min_branches: int | None = None
    """Records a group must give; None: as few as its readers can do with."""
    stops: tuple[Quorum, ...] = ()
    """The group ends as soon as all of these are decided: nobody else reads it. Set by `stop_early`."""
    gated: bool = False
    """The last argument is a number: a sample whose `watch` has fallen below it is taken out of the engine."""

    def reads(self, args: Sequence[T]) -> dict[str, T]:
        """The arguments that stand in its prompt, by field."""
        return dict(zip(self.fields, args[:-1] if self.gated else args, strict=True))


@dataclass(frozen=True, slots=True)
class Get:
    """A field or an item of argument 0. On a list, a field name gives the list of that field."""

    key: str | int | tuple[int | None, int | None, int | None]
    """A name, an index, or a slice as (start, stop, step)."""


@dataclass(frozen=True, slots=True)
class Pack:
    """The arguments as one tuple (integer keys) or dict (string keys)."""

    keys: tuple[str | int, ...]
    kind: Literal["tuple", "list", "dict"]


@dataclass(frozen=True, slots=True)
class Fork:
    """The body `n` times, each with a seed of its own. Arguments: the captured values."""

    n: int
    body: Plan
    min_branches: int | None = None
    stops: tuple[Quorum, ...] = ()
    """As for a sampling group."""


@dataclass(frozen=True, slots=True)
class Each:
    """The body once per item of argument 0, at most `cap` times. Further arguments: the captured values.

    It is handed the item, its number and, with `needs`, the list of what the items it needs have given.
    """

    cap: int
    body: Plan
    min_branches: int | None = None
    stops: tuple[Quorum, ...] = ()
    """As for a sampling group."""
    needs: Callable[[Any], Sequence[int]] | None = None
    """The numbers of the items that an item needs: its branch begins when theirs have ended."""

    @property
    def chain(self) -> int:
        """Branches that may run one after the other."""
        return 1 if self.needs is None else self.cap

    def handed(self, item: T, number: T, found: T) -> list[T]:
        """What the body is handed before the captured values."""
        return [item, number] if self.needs is None else [item, number, found]


@dataclass(frozen=True, slots=True)
class Loop:
    """The body over and over on its own result, at most `max_rounds` times.

    Arguments: the first state, then the captured values. Ends early when `until(state)` is true after a round.
    """

    body: Plan
    until: Callable[[Any], Any] | None
    max_rounds: int


@dataclass(frozen=True, slots=True)
class When:
    """One of two bodies. Arguments: the condition, what `then` captures, what `otherwise` captures.

    Only what the taken side captures is computed.
    """

    then: Plan
    otherwise: Plan
    split: int
    """Where the captured values of `otherwise` begin among the arguments."""


@dataclass(frozen=True, slots=True)
class Race:
    """Several bodies side by side; the first accepted result wins and the others leave the engine.

    Arguments: what each body captures, one body after the other.
    """

    bodies: tuple[Plan, ...]
    accept: Callable[[Any], Any] | None
    """Asked of each result's real value; None accepts every one."""

    def captured(self, args: Sequence[Any]) -> list[Sequence[Any]]:
        """The arguments of each body."""
        starts = [0, *itertools.accumulate(len(body.inputs) for body in self.bodies)]
        return [args[start:end] for start, end in itertools.pairwise(starts)]


@dataclass(frozen=True, slots=True)
class Within:
    """The body under a budget of its own. Arguments: the captured values."""

    budget: Budget
    body: Plan


@dataclass(frozen=True, slots=True)
class Call:
    """A Python function, tool or DSPy module as one opaque step. Arguments: positional ones, then the named ones."""

    fn: Callable[..., Any]
    names: tuple[str, ...]
    cap: int
    """Model calls it makes at most: its share of the bounds."""
    effects: bool
    """It changes the world: never repeated, never speculated on, run even if nothing reads its result."""


@dataclass(frozen=True, slots=True)
class Vote:
    """The first item of the largest group of items whose `by` agrees."""

    by: str | None
    normalise: Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Quorum:
    """As Vote, decided as soon as the missing items cannot change whose group wins, or `need` items agree."""

    by: str | None
    normalise: Callable[[str], str]
    need: int | None = None
    """Items that must agree; None: the largest group wins."""


@dataclass(frozen=True, slots=True)
class Select:
    """Some items of argument 0: those that argument 1 numbers, or the `k` that it scores highest."""

    mode: Literal["indices", "scores"]
    k: int
    single: bool
    """One item rather than a list of one."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Argument 0, marked as something the run may return if it is cut short."""


Op: TypeAlias = (
    Input | Const | Generate | Get | Pack | Fork | Each | Loop | When | Race | Within | Call | Vote | Quorum | Select
    | Answer
)  # fmt: skip
PURE = (Input, Const, Get, Pack, Vote, Quorum, Select, Answer)
"""Kinds that cost nothing: computed at once, in place."""


@dataclass(frozen=True, slots=True)
class Node:
    """One step of a plan."""

    op: Op
    args: tuple[int, ...]
    name: str
    """Path of the step: stable under rewriting, part of every seed below it."""
    shape: Shape = field(compare=False)
    source: str = field(default="", compare=False)
    """Where the program wrote it, file:line."""
    priority: int = field(default=0, compare=False)
    """Calls on the longest path from here to the end, this one included. Set by `prioritise`."""
    allowance: int | None = field(default=None, compare=False)
    """Output tokens a sample may write if all calls write as much as a budget lets them. Set by `allocate_budget`."""
    streams: tuple[int, ...] = field(default=(), compare=False)
    """Steps that choose an item of this one's list, and are told of each as it comes. Set by `stream_joins`."""


@dataclass(frozen=True)
class Plan:
    """A program, or the body of one of its nodes."""

    nodes: tuple[Node, ...]
    inputs: tuple[int, ...]
    """Positions of the Input nodes, in the order in which values are handed in."""
    output: int

    def __hash__(self) -> int:
        cached: int | None = self.__dict__.get("_hash")
        if cached is None:
            cached = hash((self.nodes, self.inputs, self.output))
            object.__setattr__(self, "_hash", cached)
        return cached

    @property
    def shape(self) -> Shape:
        """Of what the plan gives."""
        return self.nodes[self.output].shape

    def walk(self) -> Iterator[Node]:
        """Every node, those inside bodies included."""
        for node in self.nodes:
            yield node
            for body in bodies(node.op):
                yield from body.walk()


def bodies(op: Op) -> tuple[Plan, ...]:
    """The plans inside a node."""
    match op:
        case Fork() | Each() | Loop() | Within():
            return (op.body,)
        case Race():
            return op.bodies
        case When():
            return (op.then, op.otherwise)
        case _:
            return ()


def behind(plan: Plan, position: int, own: Sequence[float]) -> float:
    """The longest way through what the sides of the `when` at `position` read and its condition does not.

    Only the taken side's part of it is computed, and only once the condition is known. own: the length of each step.
    """

    def way(current: int, before: frozenset[int]) -> float:
        if current in before:
            return 0.0
        node = plan.nodes[current]
        longest = max((way(arg, before) for arg in node.args), default=0.0)
        if isinstance(node.op, When):
            longest = max(longest, way(node.args[0], before) + late(node, before))
        return own[current] + longest

    def late(node: Node, before: frozenset[int]) -> float:
        known = before | _above(plan, node.args[0])
        return max((way(arg, known) for arg in node.args[1:]), default=0.0)

    return late(plan.nodes[position], frozenset())


def _above(plan: Plan, position: int) -> frozenset[int]:
    """The step at `position` and all that it reads, directly or not."""
    found: set[int] = set()
    stack = [position]
    while stack:
        current = stack.pop()
        if current not in found:
            found.add(current)
            stack.extend(plan.nodes[current].args)
    return frozenset(found)
