"""Values and types in JSON's own types: what an artifact keeps of a program's constructor and call sites.

Plain values stand for themselves. What JSON lacks is an object with one key that begins with `$`: `$tuple`, `$dict`,
`$float`, `$type`, `$signature`, `$budget`, `$choice`, `$gate`, `$function`, `$tool`, `$lm`, `$program`. Classes,
functions and language models are named, never stored.
"""

from __future__ import annotations

import enum
import math
import re
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin

import dspy
import pydantic
from dspy.signatures.signature import make_signature
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from reasonflow.errors import InputError
from reasonflow.gates.gate import Gate
from reasonflow.gates.known import KNOWN
from reasonflow.gates.known import described as described_score
from reasonflow.language.choices import Choice, Range
from reasonflow.plan.budget import Budget

Json: TypeAlias = Any
"""A value made of dicts with string keys, lists, strings, numbers, booleans and None."""

_NAMED: dict[str, Any] = {
    "Any": Any, "None": type(None), "bool": bool, "bytes": bytes, "dict": dict, "float": float, "frozenset": frozenset,
    "int": int, "list": list, "set": set, "str": str, "tuple": tuple,
}  # fmt: skip
_CONTAINERS = ("dict", "frozenset", "list", "set", "tuple")
_CONSTRAINTS = ("ge", "gt", "le", "lt", "max_length", "min_length", "multiple_of", "pattern")
_SECRET = re.compile(r"(^|_)(api_?key|(access|auth)_token|password|secret)$", re.IGNORECASE)
_CODED = re.compile(r"^\$")


# Writing -------------------------------------------------------------------------------------------------------------


def describe(value: Any, where: str, *, opaque: bool = False) -> Json:
    """`value` in JSON's types. Raises InputError that says where, for what has no such form, and for credentials.

    opaque: note what has no such form by its kind, which is enough to compare by and nothing can be made from.
    """
    if value is None or type(value) in (bool, int, str):
        return value
    if isinstance(value, dspy.Module):  # before the other kinds: on a module, isinstance is fast only where it is true
        made = getattr(value, "_constructed_with", None)
        if made is None:
            return _unknown(type(value).__name__, where, "value", opaque)
        return {"$program": made.described()}
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"$float": str(value)}
    if isinstance(value, list):
        return [describe(part, f"{where}[{place}]", opaque=opaque) for place, part in enumerate(value)]
    if type(value) is tuple:
        return {"$tuple": describe(list(value), where, opaque=opaque)}
    if isinstance(value, Mapping):
        return _describe_mapping(value, where, opaque)
    if isinstance(value, type) and issubclass(value, dspy.Signature):
        return {"$signature": describe_signature(value, where, opaque=opaque)}
    if isinstance(value, type) or get_origin(value) is not None or value is Any:
        return {"$type": describe_type(value, where, opaque=opaque)}
    if isinstance(value, Budget):
        return {"$budget": value.limits}
    if isinstance(value, Range):
        return {"$range": {"value": value.value, "low": value.low, "high": value.high, "log": value.log}}
    if isinstance(value, Choice):
        options = None if value.options is None else describe(list(value.options), where)
        choice = {"value": describe(value.value, where), "options": options}
        return {"$choice": choice if value.only else {**choice, "only": False}}
    if isinstance(value, Gate) and value.score.settings["score"] in KNOWN:
        return {"$gate": {"score": value.score.settings, "strict": value.strict}}
    if isinstance(value, dspy.BaseLM):
        return {"$lm": value.model}
    if isinstance(value, types.FunctionType) and _is_importable(value):
        return {"$function": path_of(value)}
    if isinstance(value, dspy.Tool) and (tool := _describe_tool(value)) is not None:
        return {"$tool": tool}
    return _unknown(type(value).__name__, where, "value", opaque)


def describe_type(annotation: Any, where: str, *, opaque: bool = False) -> Json:
    """A type as its name, or as an object with one key: a container, "union", "literal", "dspy" or "class"."""
    kind: Any = type(annotation) if annotation is None else annotation
    for name, known in _NAMED.items():
        if kind is known:
            return name
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Literal:
        return {"literal": [describe(part, where, opaque=opaque) for part in parts]}
    if origin in (Union, types.UnionType):
        return {"union": [describe_type(part, where, opaque=opaque) for part in parts]}
    for name in _CONTAINERS:
        if origin is _NAMED[name]:
            inner = ["..." if part is Ellipsis else describe_type(part, where, opaque=opaque) for part in parts]
            return {name: inner}
    if isinstance(kind, type) and issubclass(kind, (pydantic.BaseModel, enum.Enum)):
        cls: type = kind
        return {"dspy": cls.__name__} if getattr(dspy, cls.__name__, None) is cls else {"class": path_of(cls)}
    return _unknown(str(kind), where, "type", opaque)


def describe_signature(signature: type[dspy.Signature], where: str, *, opaque: bool = False) -> Json:
    """Name, instructions and fields: each with its kind, type, texts, default and constraints."""
    return {
        "name": signature.__name__,
        "instructions": signature.instructions,
        "fields": [
            {"name": name, **_describe_field(info, f"field {name!r} of {where}", opaque)}
            for name, info in signature.fields.items()
        ],
    }


def path_of(named: type | types.FunctionType) -> str:
    """How a class or a function is named: "module:Class"."""
    return f"{named.__module__}:{named.__qualname__}"


def _is_importable(function: types.FunctionType) -> bool:
    """Whether its path leads to it: not to a lambda, nor to a function inside of another."""
    found: Any = sys.modules.get(function.__module__)
    for part in function.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is function


def _describe_tool(tool: dspy.Tool) -> Json:
    """Its function, name and description; None where that is not all of it."""
    function = tool.func
    if not isinstance(function, types.FunctionType) or not _is_importable(function):
        return None
    again = dspy.Tool(function, name=tool.name, desc=tool.desc)
    if (again.args, again.arg_desc) != (tool.args, tool.arg_desc):
        return None
    return {"function": path_of(function), "name": tool.name, "desc": tool.desc}


def _describe_mapping(value: Mapping[Any, Any], where: str, opaque: bool) -> Json:
    for key in value:
        if isinstance(key, str) and _SECRET.search(key):
            refuse_secret(key, value[key], where)
    if all(isinstance(key, str) and not _CODED.match(key) for key in value):
        return {key: describe(part, f"{where}[{key!r}]", opaque=opaque) for key, part in value.items()}
    pairs = [[describe(key, where), describe(part, f"{where}[{key!r}]", opaque=opaque)] for key, part in value.items()]
    return {"$dict": pairs}


def refuse_secret(name: str, value: Any, where: str) -> None:
    """Raise InputError where a text by this name is a credential."""
    if isinstance(value, str) and value and _SECRET.search(name):
        raise InputError(
            f"{where} holds a credential ({name})",
            why="artifacts are files that people share; none is written into one",
            fix="read it from the environment inside the program",
        )


def _describe_field(info: FieldInfo, where: str, opaque: bool) -> dict[str, Json]:
    extra: dict[str, Any] = dict(info.json_schema_extra) if isinstance(info.json_schema_extra, dict) else {}
    field: dict[str, Json] = {
        "kind": extra.pop("__dspy_field_type"),
        "type": describe_type(info.annotation, where, opaque=opaque),
        "extra": describe(extra, where, opaque=opaque),
    }
    if info.default is not PydanticUndefined:
        field["default"] = describe(info.default, where, opaque=opaque)
    constraints: dict[str, Json] = {}
    for rule in info.metadata:
        named = {name: getattr(rule, name) for name in _CONSTRAINTS if getattr(rule, name, None) is not None}
        if not named:
            constraints["opaque"] = _unknown(repr(rule), where, "constraint", opaque)
        constraints |= {name: describe(limit, where, opaque=opaque) for name, limit in named.items()}
    return {**field, "constraints": constraints} if constraints else field


def _unknown(name: str, where: str, noun: str, opaque: bool) -> Json:
    if opaque:
        return {"$opaque": name}
    raise InputError(
        f"{where} cannot be saved: a {noun} of {name!r} has no JSON form"
        if noun == "value"
        else f"{where} cannot be saved: the {noun} {name} has no JSON form",
        why="an artifact holds plain values, signatures, budgets, programs and the names of a module's own functions; "
        "types are built-in ones, Literal, unions, enums and pydantic models",
        fix="make it inside the program's __init__ from a plain argument, or set it after loading",
    )


# Reading -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Restorer:
    """Turns descriptions back into values. Raises InputError for what no `describe` wrote."""

    find_class: Callable[[str], type]
    """The class of a path, if it is allowed."""
    find_function: Callable[[str], Callable[..., Any]]
    """The function of a path, if it is allowed."""
    find_lm: Callable[[str], dspy.BaseLM]
    """The language model of a name, if it was given."""
    make_program: Callable[[Mapping[str, Json], str], Any]
    """A program from what `Construction.described` wrote."""

    def value(self, described: Json, where: str) -> Any:
        """What `describe` was given."""
        if isinstance(described, list):
            return [self.value(part, where) for part in described]
        if not isinstance(described, dict):
            return described
        code = next((key for key in described if _CODED.match(key)), None)
        if code is None:
            return {key: self.value(part, where) for key, part in described.items()}
        try:
            return self._coded(code, described[code], where)
        except InputError:
            raise
        except (TypeError, ValueError) as error:
            raise _damaged(where, f"{code}: {error}") from error

    def _coded(self, code: str, inner: Json, where: str) -> Any:
        match code, inner:
            case "$tuple", list():
                return tuple(self.value(inner, where))
            case "$dict", list():
                return {self.value(key, where): self.value(part, where) for key, part in inner}
            case "$float", str():
                return float(inner)
            case "$type", _:
                return self.annotation(inner, where)
            case "$signature", dict():
                return self.signature(inner, where)
            case "$budget", dict():
                return Budget(**inner)
            case "$choice", {"value": value, "options": options}:
                only = inner.get("only", True) is not False
                return Choice(self.value(value, where), self.value(options, where), only=only)
            case "$range", {"value": value, "low": low, "high": high, "log": bool(log)}:
                return Range(value, low, high, log=log)
            case "$gate", {"score": dict(settings), "strict": bool(strict)}:
                return Gate(described_score(settings), strict=strict)
            case "$function", str():
                return self.find_function(inner)
            case "$tool", {"function": str(path), "name": str(name), "desc": desc}:
                return dspy.Tool(self.find_function(path), name=name, desc=desc)
            case "$lm", str():
                return self.find_lm(inner)
            case "$program", dict():
                return self.make_program(inner, where)
        raise _damaged(where, f"{code} is nothing that can be made again")

    def annotation(self, described: Json, where: str) -> Any:
        """What `describe_type` was given."""
        if isinstance(described, str) and described in _NAMED:
            return None if described == "None" else _NAMED[described]
        match described:
            case {"literal": [*values]}:
                return Literal[tuple(self.value(value, where) for value in values)]
            case {"union": [*parts]} if parts:
                return Union[tuple(self.annotation(part, where) for part in parts)]  # noqa: UP007  # built at run time
            case {"dspy": str(name)}:
                return _of_dspy(name, where)
            case {"class": str(path)}:
                return self.find_class(path)
            case dict() if len(described) == 1 and next(iter(described)) in _CONTAINERS:
                [(name, parts)] = described.items()
                return _NAMED[name][tuple(... if part == "..." else self.annotation(part, where) for part in parts)]
        raise _damaged(where, f"{described!r} is no type that can be made again")

    def signature(self, described: Json, where: str) -> type[dspy.Signature]:
        """What `describe_signature` was given."""
        try:
            fields = {
                field["name"]: (self.annotation(field["type"], where), self._field(field, where))
                for field in described["fields"]
            }
            made: type[dspy.Signature] = make_signature(fields, described["instructions"], described["name"])
        except InputError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged(where, f"its signature is not whole ({error!r})") from error
        return made

    def _field(self, field: Mapping[str, Json], where: str) -> Any:
        default = self.value(field["default"], where) if "default" in field else PydanticUndefined
        limits = {name: self.value(limit, where) for name, limit in field.get("constraints", {}).items()}
        if not limits.keys() <= set(_CONSTRAINTS):
            raise _damaged(where, "a field has a constraint that has no JSON form")
        extra = {**self.value(field["extra"], where), "__dspy_field_type": field["kind"]}
        # Not dspy.InputField: it warns of the prefix that every field of DSPy's has.
        return pydantic.Field(default, json_schema_extra=extra, **limits)


def _of_dspy(name: str, where: str) -> type:
    found = getattr(dspy, name, None)
    if not (isinstance(found, type) and issubclass(found, (pydantic.BaseModel, enum.Enum))):
        raise _damaged(where, f"DSPy has no type {name!r}")
    return found


def _damaged(where: str, why: str) -> InputError:
    return InputError(f"{where} cannot be restored", why=why, fix="save the program again")
