"""Symbolic values: what calling a call site or a combinator inside `plan` returns.

A `Ref` refuses to lie. Whatever would need its value now (truth, comparison, iteration, printing, hashing) raises an
error that names the combinator to use instead. Access to fields and items is recorded as a step of the plan.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, NoReturn

from reasonflow.errors import ProgramError, RefError
from reasonflow.plan.nodes import Get
from reasonflow.plan.shapes import RECORD_FIELDS, VALUE, ListShape, RecordShape, Shape, StructShape, ValueShape

if TYPE_CHECKING:
    from reasonflow.language.tracing import Tracer

_STATE = "_Ref__state"
PRINTED = "<reasonflow.Ref "
"""How a Ref's `repr` begins: tracing refuses texts that it slipped into, as it does through a list in an f-string."""


class Ref:
    """A value that a run will compute: a record, a list, or one opaque value.

    `ref.name` and `ref["name"]` read a field (on a list: that field of every item), `ref[0]` and `ref[1:]` items.
    """

    __slots__ = (_STATE,)

    def __init__(self, tracer: Tracer, position: int, shape: Shape) -> None:
        object.__setattr__(self, _STATE, (tracer, position, shape))

    def __getattr__(self, name: str) -> Ref:
        if name.startswith(("__", "_repr_", "_ipython_")):
            raise AttributeError(name)  # Python and notebooks ask for protocols this way; a Ref implements none
        return field_of(self, name)

    def __getitem__(self, key: Any) -> Ref:
        return item_of(self, key)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        _refuse(f"field {name!r} of a symbolic value cannot be set", "build a new value with rf.call(function, ...)")

    def __delattr__(self, name: str) -> NoReturn:
        _refuse(
            f"field {name!r} of a symbolic value cannot be removed", "build a new value with rf.call(function, ...)"
        )

    def __setitem__(self, key: object, value: object) -> NoReturn:
        _refuse("an item of a symbolic value cannot be set", "build a new value with rf.call(function, ...)")

    def __delitem__(self, key: object) -> NoReturn:
        _refuse("an item of a symbolic value cannot be removed", "build a new value with rf.call(function, ...)")

    def __await__(self) -> NoReturn:
        _refuse("a symbolic value cannot be awaited", "leave out `await`: plan describes, the run waits")

    def __bool__(self) -> NoReturn:
        _refuse("a symbolic value has no truth yet", "use rf.when(condition, then, otherwise)")

    def __eq__(self, other: object) -> NoReturn:
        _refuse("a symbolic value cannot be compared yet", "compare inside rf.call(function, ...) or rf.when(...)")

    def __ne__(self, other: object) -> NoReturn:
        _refuse("a symbolic value cannot be compared yet", "compare inside rf.call(function, ...) or rf.when(...)")

    def _refuse_order(self, other: object) -> NoReturn:
        _refuse("a symbolic value cannot be ordered yet", "use rf.select(items, scores=...) or rf.call(function, ...)")

    __lt__ = __le__ = __gt__ = __ge__ = _refuse_order

    def __hash__(self) -> NoReturn:
        _refuse("a symbolic value cannot be a key or a set member", "keep it in a list, a tuple or a dict's value")

    def __len__(self) -> NoReturn:
        _refuse("a symbolic list has no length yet", "use rf.each(items, body), or rf.call(len, items)")

    def __iter__(self) -> NoReturn:
        _refuse("a symbolic list cannot be iterated yet", "use rf.each(items, body)")

    def __contains__(self, item: object) -> NoReturn:
        _refuse("a symbolic list cannot be searched yet", "use rf.call(function, items)")

    def __call__(self, *args: object, **kwargs: object) -> NoReturn:
        _refuse("a symbolic value cannot be called", "use rf.call(function, value)")

    def __str__(self) -> NoReturn:
        _refuse("a symbolic value has no text yet", "pass it as an input field, or format it with rf.call(str, value)")

    def __format__(self, spec: str) -> NoReturn:
        _refuse("a symbolic value has no text yet", "format it with rf.call(lambda v: f'...{v}...', value)")

    def __repr__(self) -> str:  # debuggers and error pages need one; it cannot be mistaken for a value
        tracer, position, shape = state_of(self)
        return f"{PRINTED}{tracer.nodes[position].name}: {shape}>"

    def _refuse_arithmetic(self, *other: object) -> NoReturn:
        _refuse("arithmetic on a symbolic value happens at run time", "use rf.call(function, ...)")

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _refuse_arithmetic
    __mod__ = __rmod__ = __floordiv__ = __rfloordiv__ = __divmod__ = __rdivmod__ = _refuse_arithmetic
    __pow__ = __rpow__ = __matmul__ = __rmatmul__ = __lshift__ = __rlshift__ = __rshift__ = __rrshift__ = (
        _refuse_arithmetic
    )
    __and__ = __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = __invert__ = __neg__ = __pos__ = _refuse_arithmetic
    __abs__ = __round__ = __int__ = __float__ = __index__ = _refuse_arithmetic

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        _refuse("a symbolic value cannot be pickled or copied", "return it from plan and keep the run's result")

    def __copy__(self) -> NoReturn:
        _refuse("a symbolic value cannot be copied", "use it as it is: it never changes")

    def __deepcopy__(self, memo: object) -> NoReturn:
        _refuse("a symbolic value cannot be copied", "use it as it is: it never changes")


def state_of(ref: Ref) -> tuple[Tracer, int, Shape]:
    """The tracer, the position in its plan, and the shape."""
    state: tuple[Tracer, int, Shape] = object.__getattribute__(ref, _STATE)
    return state


def shape_of(ref: Ref) -> Shape:
    """What the value will look like."""
    return state_of(ref)[2]


def field_of(ref: Ref, name: str) -> Ref:
    """Field `name`; on a list, that field of every item. Raises ProgramError naming the fields there are."""
    tracer, position, shape = state_of(ref)
    return tracer.here().step(Get(name), [ref], field_shape(shape, name), f"{tracer.nodes[position].name}.{name}")


def item_of(ref: Ref, key: Any) -> Ref:
    """`ref[key]`: a field for a string, an item for an integer, a shorter list for a slice."""
    if isinstance(key, str):
        return field_of(ref, key)
    tracer, position, shape = state_of(ref)
    if isinstance(key, Ref):
        _refuse("a symbolic list cannot be indexed by a symbolic value", "use rf.select(items, indices=...)")
    name = f"{tracer.nodes[position].name}[{_spell(key)}]"
    if isinstance(key, slice):
        parts = (key.start, key.stop, key.step)
        if not all(part is None or isinstance(part, int) for part in parts):
            _refuse("a slice of a symbolic list needs plain integers", "use rf.select(items, indices=...)")
        if isinstance(shape, ListShape):
            width = len(range(*key.indices(shape.width)))
            return tracer.here().step(Get(parts), [ref], ListShape(shape.item, width, shape.exact), name)
        if isinstance(shape, ValueShape):
            return tracer.here().step(Get(parts), [ref], VALUE, name)
        raise ProgramError(f"a {shape} cannot be sliced", fix="slice a list, or read a field by its name")
    if not isinstance(key, int) or isinstance(key, bool):
        _refuse(f"a symbolic value cannot be indexed by {type(key).__name__}", "use rf.select(items, indices=...)")
    return tracer.here().step(Get(key), [ref], _item_shape(shape, key), name)


def field_shape(shape: Shape, name: str) -> Shape:
    """What field `name` of such a value looks like. Raises ProgramError where there is no such field."""
    match shape:
        case RecordShape(fields):
            if name not in fields and name not in RECORD_FIELDS:
                known = (*fields, *RECORD_FIELDS)
                near = difflib.get_close_matches(name, known, n=1)
                raise ProgramError(
                    f"this call has no field {name!r}",
                    why=f"its fields are {', '.join(known)}",
                    fix=f"did you mean {near[0]!r}?" if near else "use one of them, or add it to the signature",
                )
            return VALUE
        case ListShape(item, width, exact):
            if isinstance(item, ListShape):
                raise ProgramError(
                    f"field {name!r} of a list of lists is ambiguous",
                    why="a field of a list gives the list of that field, one level deep",
                    fix=f"use rf.each(lists, lambda inner: inner.{name})",
                )
            return ListShape(field_shape(item, name), width, exact)
        case StructShape(keys, items):
            if name not in keys:
                entries = ", ".join(map(str, keys))
                raise ProgramError(f"this value has no entry {name!r}", why=f"its entries are {entries}")
            return items[keys.index(name)]
        case _:
            return VALUE


def _item_shape(shape: Shape, index: int) -> Shape:
    match shape:
        case ListShape(item, width, exact):
            if exact and not -width <= index < width:
                raise ProgramError(
                    f"item {index} of a list of {width} does not exist", fix=f"use an index below {width}"
                )
            return item
        case StructShape(keys, items):
            if index not in keys:
                raise ProgramError(
                    f"this value has no entry {index}", why=f"its entries are {', '.join(map(str, keys))}"
                )
            return items[keys.index(index)]
        case RecordShape():
            raise ProgramError(
                "one record cannot be indexed",
                why="a call without n= gives a record, not a list",
                fix="read a field by its name, or call with n=1 for a list of one",
            )
        case _:
            return VALUE


def _spell(key: Any) -> str:
    if isinstance(key, slice):
        return (
            ":".join("" if part is None else str(part) for part in (key.start, key.stop, key.step)).rstrip(":") or ":"
        )
    return str(key)


def _refuse(what: str, fix: str) -> NoReturn:
    raise RefError(what, why="plan() is traced before anything runs; its values are symbolic", fix=fix)
