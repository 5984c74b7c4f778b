"""Tracing: `plan` runs once over symbolic values, and every step it takes becomes a node."""

from __future__ import annotations

import contextvars
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import dspy

from reasonflow.errors import ProgramError, RefError
from reasonflow.language.refs import PRINTED, Ref, state_of
from reasonflow.language.site_defaults import SiteDefaults
from reasonflow.plan.nodes import Const, Input, Node, Op, Pack, Plan
from reasonflow.plan.shapes import VALUE, ListShape, Shape, StructShape

_CURRENT: contextvars.ContextVar[Tracer | None] = contextvars.ContextVar("reasonflow_tracer", default=None)
_HERE = os.path.dirname(__file__)


def is_tracing() -> bool:
    """Whether a `plan` is being traced in this context: no model may be called then."""
    return _CURRENT.get() is not None


def tracer() -> Tracer | None:
    """The tracer of the plan or body that is being traced in this context."""
    return _CURRENT.get()


def the_tracer(what: str) -> Tracer:
    """As `tracer`, for combinators that mean nothing outside a plan."""
    current = _CURRENT.get()
    if current is None:
        raise ProgramError(
            f"rf.{what} was used outside a plan",
            why="it describes a step of a program; nothing is being described here",
            fix="use it inside `def plan(self, ...)` of an rf.Program",
        )
    return current


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """What a call site needs at run time and a plan must not know, so that equal plans stay equal."""

    predictor: dspy.Predict
    """The object DSPy's optimizers know: traces name it."""
    lm: dspy.BaseLM | None
    seed: int
    priority: int = 0
    """Of its requests in the engine's queue: lower first."""


class ProgramSites:
    """The call sites of the program being traced: their names, and what the traced ones are bound to."""

    def __init__(self, names: dict[int, str], lm: dspy.BaseLM | None, adapter: dspy.Adapter | None) -> None:
        self.names = names
        """Attribute paths by the identity of the predictors."""
        self.lm = lm
        self.adapter = adapter
        """What the caller's context configures: a site's own language model comes first."""
        self.bindings: dict[str, Binding] = {}
        self.defaults = SiteDefaults()
        """Of sites that say nothing themselves."""

    @contextmanager
    def inside(self, defaults: SiteDefaults) -> Iterator[None]:
        """Inside a program that says this; where it says nothing, what is around it holds."""
        around = self.defaults
        self.defaults = around.around(defaults)
        try:
            yield
        finally:
            self.defaults = around


class Tracer:
    """Collects the nodes of one plan; bodies get tracers of their own below it."""

    def __init__(
        self, program: ProgramSites, parent: Tracer | None = None, scope: str = "", names: dict[str, int] | None = None
    ) -> None:
        self.nodes: list[Node] = []
        self.inputs: list[int] = []
        self.program = program
        self.parent = parent
        self.scope = scope
        self._names: dict[str, int] = {} if names is None else names
        self._captured: dict[int, int] = {}
        """Positions in the parent's plan that this body reads, and the inputs they became here."""
        self._open = True

    # Names -----------------------------------------------------------------------------------------------------------

    def path(self, name: str) -> str:
        """A name nothing else in the program has: the second `draft` is `draft#2`."""
        full = f"{self.scope}/{name}" if self.scope else name
        count = self._names.get(full, 0) + 1
        self._names[full] = count
        return full if count == 1 else f"{full}#{count}"

    # Nodes -----------------------------------------------------------------------------------------------------------

    def add(self, op: Op, args: Sequence[int], name: str, shape: Shape) -> Ref:
        """Append a node whose arguments are positions in this plan."""
        self.nodes.append(Node(op, tuple(args), name, shape, _caller()))
        return Ref(self, len(self.nodes) - 1, shape)

    def step(self, op: Op, args: Sequence[Any], shape: Shape, name: str) -> Ref:
        """Append a node; the arguments are Refs of this plan or an enclosing one, nests of them, or plain values."""
        return self.add(op, [self.position(arg) for arg in args], name, shape)

    def input(self, name: str, shape: Shape = VALUE) -> Ref:
        """A value the plan is handed."""
        ref = self.add(Input(name), (), name, shape)
        self.inputs.append(state_of(ref)[1])
        return ref

    def position(self, value: Any) -> int:
        """Where `value` stands in this plan; constants and nests of Refs get nodes of their own."""
        return self._resolve(value) if isinstance(value, Ref) else state_of(self.lift(value))[1]

    def lift(self, value: Any, *, nest: bool = False) -> Ref:
        """`value` as a Ref: a Ref as it is, a nest that holds Refs packed, anything else as a constant.

        nest: tuples and dicts are packed even if they hold no Ref, as the state of a loop must be.
        """
        if isinstance(value, Ref):
            position = self._resolve(value)
            return Ref(self, position, self.nodes[position].shape)
        if _holds_refs(value) or (nest and isinstance(value, (tuple, dict))):
            return self._pack(value, nest)
        _check_constant(value)
        shape = ListShape(VALUE, len(value)) if isinstance(value, (list, tuple)) else VALUE
        return self.add(Const(value), (), _brief(value), shape)

    def _pack(self, value: dict[Any, Any] | tuple[Any, ...] | list[Any], nest: bool) -> Ref:
        if isinstance(value, dict):
            if not all(isinstance(key, str) for key in value):
                raise ProgramError("a dict of symbolic values needs string keys", fix="use strings, or a tuple")
            parts, keys = list(value.values()), tuple(value)
        else:
            parts, keys = list(value), tuple(range(len(value)))
        lifted = [self.lift(part, nest=nest) for part in parts]
        shapes = tuple(state_of(part)[2] for part in lifted)
        kind: Literal["tuple", "list", "dict"] = (
            "dict" if isinstance(value, dict) else "list" if isinstance(value, list) else "tuple"
        )
        shape: Shape = StructShape(keys, shapes)
        if kind == "list" and len(set(shapes)) == 1:
            shape = ListShape(shapes[0], len(shapes))
        return self.add(Pack(keys, kind), [state_of(part)[1] for part in lifted], kind, shape)

    def here(self) -> Tracer:
        """The tracer in force now: reading a field of an outer value inside a body is a step of the body."""
        return _CURRENT.get() or self

    # Bodies ----------------------------------------------------------------------------------------------------------

    def body(self, name: str, make: Callable[[Tracer], Any]) -> tuple[Plan, list[int]]:
        """Trace a body: `make` declares its parameters with `input`, then returns its result.

        Returns the body and the positions here of the outer values it uses, in the order of its last inputs.
        """
        inner = Tracer(self.program, parent=self, scope=name, names=self._names)
        with tracing(inner):
            result = inner.lift(make(inner))
        return inner.finish(result), list(inner._captured)

    def finish(self, result: Ref) -> Plan:
        """The traced plan; its Refs are worth nothing afterwards."""
        self._open = False
        return Plan(tuple(self.nodes), tuple(self.inputs), state_of(result)[1])

    def _resolve(self, ref: Ref) -> int:
        owner, position, shape = state_of(ref)
        if owner is self:
            return position
        if self.parent is None or not owner._open:
            raise ProgramError(
                f"a symbolic value is used where it does not exist ({owner.nodes[position].name})",
                why="it belongs to a body that has ended, or to another program's plan",
                fix="return it from the body that makes it, or pass it in as an argument",
            )
        outer = self.parent._resolve(ref)
        if outer not in self._captured:
            self._captured[outer] = state_of(self.input(owner.nodes[position].name, shape))[1]
        return self._captured[outer]


@contextmanager
def tracing(inner: Tracer | None) -> Iterator[None]:
    """Make `inner` the tracer of this context."""
    token = _CURRENT.set(inner)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def _holds_refs(value: Any) -> bool:
    if isinstance(value, dict):
        return any(isinstance(part, Ref) or _holds_refs(part) for part in value.values())
    if isinstance(value, (tuple, list)):
        return any(isinstance(part, Ref) or _holds_refs(part) for part in value)
    return False


def _check_constant(value: Any) -> None:
    if isinstance(value, str) and PRINTED in value:
        raise RefError(
            "a text holds the printed form of a symbolic value",
            why="plan() is traced before anything runs; the model would read the placeholder",
            fix="pass the value as an input field of its own, or make the text with rf.call(function, value)",
        )
    if inspect.iscoroutine(value):
        value.close()
    if inspect.isawaitable(value) or inspect.isgenerator(value) or inspect.isasyncgen(value):
        raise ProgramError(
            f"a {type(value).__name__} is no value of a plan",
            why="plan and its bodies are plain functions: they describe, and the run waits",
            fix="write `def`, without `await` or `yield`; async functions go into rf.call(function, ...)",
        )


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _caller() -> str:
    """File and line of the program that takes this step: the first frame outside the language."""
    frame = sys._getframe(2)
    while frame is not None and frame.f_code.co_filename.startswith(_HERE):
        if frame.f_back is None:
            break
        frame = frame.f_back
    return f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"
