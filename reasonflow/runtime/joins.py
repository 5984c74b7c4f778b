"""The pure steps: projections and joins over real values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from reasonflow.errors import AnswerError, ReasonFlowError, RunError
from reasonflow.plan.nodes import Const, Get, Op, Pack, Quorum, Select, Vote
from reasonflow.runtime.values import Hole, Record, solid

Note = Callable[[str], None]
"""Told what had to be left out, for the run record."""


def evaluate(op: Op, args: Sequence[Any], note: Note) -> Any:
    """The value of a pure node. Raises what its step raises on these values."""
    match op:
        case Const(value):
            return value
        case Get(key):
            return get(args[0], key)
        case Pack(keys, kind):
            if kind == "dict":
                return dict(zip(keys, args, strict=True))
            return tuple(args) if kind == "tuple" else list(args)
        case Vote() | Quorum():
            return vote(op, args[0])
        case Select():
            return select(op, args[0], args[1], note)
        case _:  # Answer: the value itself
            return args[0]


def get(value: Any, key: Any) -> Any:
    """A field or an item. A field of a list is the list of that field, holes kept."""
    if isinstance(value, list) and isinstance(key, str):
        return [item if isinstance(item, Hole) else get(item, key) for item in value]
    try:
        if isinstance(key, tuple):
            return value[slice(*key)]
        if isinstance(key, int):
            return _fill(value[key])
        if isinstance(value, Record):
            return value.read(key)
        return value[key] if isinstance(value, dict) else getattr(value, key)
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise RunError(
            f"a value of type {type(value).__name__} has no {'field' if isinstance(key, str) else 'item'} {key!r}",
            why="its shape was not known before the run",
            fix="check what computes it, or read it inside rf.call(function, value)",
        ) from error


def ballot_of(op: Vote | Quorum, item: Any) -> str | None:
    """What an item votes for; None where it has no vote."""
    value = item if op.by is None else get(item, op.by)
    return None if value is None or value == "" else op.normalise(str(value))


def vote(op: Vote | Quorum, items: Sequence[Any]) -> Any:
    """The first item of the largest group; among equal groups the one whose first item comes first."""
    groups: dict[str, list[Any]] = {}
    for item in solid(list(items)):
        ballot = ballot_of(op, item)
        if ballot is not None:
            groups.setdefault(ballot, []).append(item)
    if not groups:
        holes = [item for item in items if isinstance(item, Hole)]
        if len(holes) == len(items) and holes:
            raise all_failed("vote", holes)
        raise AnswerError(
            f"a vote over {len(items)} branches has no ballot",
            why=f"{len(holes)} branches failed, the others hold no {op.by or 'value'}",
            fix="look at error.run.repairs; give the branches more max_tokens if their texts are cut off",
        )
    largest = max(groups.values(), key=len)
    if isinstance(op, Quorum) and op.need is not None and len(largest) < op.need:
        raise AnswerError(
            f"no {op.need} of {len(items)} branches agree",
            why=f"the largest group has {len(largest)}",
            fix="lower need, draw more branches, or use rf.vote",
        )
    return largest[0]


def select(op: Select, items: Sequence[Any], guide: Any, note: Note) -> Any:
    """Items by number or by score; holes are never selected."""
    if op.mode == "indices":
        wanted = [guide] if isinstance(guide, int) else list(guide)
        good = [
            index for index in wanted if isinstance(index, int) and 0 <= index < len(items) and _is_solid(items[index])
        ]
        if len(good) < len(wanted):
            note(f"left out {len(wanted) - len(good)} of {len(wanted)} numbers that name no item")
    else:
        scored = [
            (float(score), index)
            for index, score in enumerate(guide)
            if index < len(items) and _is_solid(items[index]) and score is not None and _is_solid(score)
        ]
        good = [index for _, index in sorted(scored, key=lambda pair: (-pair[0], pair[1]))]
    chosen = [items[index] for index in dict.fromkeys(good)][: op.k]
    if not chosen:
        raise RunError(
            "select() has nothing to select",
            why=f"none of the {len(items)} items is named by {'a number' if op.mode == 'indices' else 'a score'}",
            fix="check what computes the numbers or scores; a fallback can stand in rf.call",
        )
    return chosen[0] if op.single else chosen


def enough(name: str, items: Sequence[Any], least: int | None) -> None:
    """Raise RunError where fewer than `least` of the branches gave a result; of fewer branches all must."""
    holes = [item for item in items if isinstance(item, Hole)]
    if least is None or len(items) - len(holes) >= min(least, len(items)):
        return
    error = RunError(
        f"only {len(items) - len(holes)} of {len(items)} branches of {name} gave a result; {least} are needed",
        why=f"the first that did not: {type(holes[0].error).__name__}: {holes[0].error}",
        fix="lower min_branches, or see error.run.failures for what went wrong",
    )
    error.__cause__ = holes[0].error
    raise error


def all_failed(where: str, holes: Sequence[Hole]) -> BaseException:
    """The error of a step all of whose branches failed: the branches' own if they agree on its kind."""
    first = holes[0].error
    if isinstance(first, ReasonFlowError) and len(holes) == 1:
        return first
    error = RunError(
        f"all {len(holes)} branches into {where} failed",
        why=f"the first: {type(first).__name__}: {first}",
        fix="error.run.failures lists them all",
    )
    error.__cause__ = first
    return error


def _fill(item: Any) -> Any:
    if isinstance(item, Hole):
        raise all_failed("an indexed branch", [item])
    return item


def _is_solid(item: Any) -> bool:
    return not isinstance(item, Hole)
