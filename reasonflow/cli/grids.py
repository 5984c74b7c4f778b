"""`--grid KEY=V1,V2` turned into axes of a sweep: each value is read as `--set` reads it."""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, get_args, get_origin

from reasonflow.cli.options import NONE_WORDS, options_of, parse_settings
from reasonflow.errors import InputError, UnknownName
from reasonflow.language.choices import Choice, Range
from reasonflow.plan.budget import Budget

if TYPE_CHECKING:
    from reasonflow.evals.sweep.points import Axis


def parse_grid(program_class: type, words: Sequence[str], option: str = "--grid") -> list[Axis]:
    """The axes that `["n=1,2,4", "widths=4;4,2"]` spell; values of an option that is a list stand between semicolons.

    Raises UnknownName for an option the constructor does not have, InputError for a value its type does not take, for
    one that stands twice, and for lists whose ends cannot be told.
    """
    from reasonflow.evals.sweep.points import Axis

    options, axes = options_of(program_class), list[Axis]()
    for name, text in _split(option, words, "n=1,2,4"):
        if name in options and _is_list(options[name][0]) and ";" not in text and "," in text:
            raise InputError(
                f"{option} {name}={text}: one list, or several?",
                why=f"{name} of {program_class.__name__} is a list, and a list has commas, too",
                fix=f'put semicolons between lists: {option} "{name}=4;4,2", or one list alone: --set {name}={text}',
            )
        written = _words(f"{option} {name}", text, ";" if ";" in text else ",")
        values = [parse_settings(program_class, [f"{name}={word}"])[name] for word in written]
        twice = next((word for word, value in zip(written, values, strict=True) if values.count(value) > 1), None)
        if twice is not None:
            raise InputError(f"{option} {name} has {twice!r} twice", fix="name every value once")
        axes.append(Axis(name, tuple(zip(written, values, strict=True))))
    return axes


def parse_search(program_class: type, words: Sequence[str]) -> tuple[list[str], dict[str, Choice]]:
    """The names that `["widths", "temperature=0.2..1.2", "k=1,2"]` spell, and Choices or Ranges for those with values.

    The first value is where a search begins; of a range its lower end. Raises as `parse_grid`, and InputError for a
    range of what is no number.
    """
    names, choices = [word.partition("=")[0].strip() for word in words], dict[str, Choice]()
    grids = []
    for name, word in zip(names, words, strict=True):
        low, dots, high = word.partition("=")[2].partition("..")
        if not dots:
            grids += [word] if "=" in word else []
            continue
        ends = [parse_settings(program_class, [f"{name}={end.strip()}"])[name] for end in (low, high)]
        if not all(isinstance(end, (int, float)) for end in ends):
            raise InputError(f"--search {word}: only numbers have a range", fix="name the values: widths=4;4,2")
        choices[name] = Range(ends[0], *ends)
    for axis in parse_grid(program_class, grids, "--search"):
        values = [value for _, value in axis.values]
        choices[axis.name] = Choice(values[0], options=values)
    return names, choices


def parse_budget_grid(words: Sequence[str]) -> list[Axis]:
    """The axes that `["total=2k,4k,none"]` spells: limits of each run. Raises UnknownName, InputError."""
    from reasonflow.evals.sweep.points import Axis

    axes = list[Axis]()
    for name, text in _split("--budget-grid", words, "total=2k,4k"):
        written = _words(f"--budget-grid {name}", text, ",")
        limits = ["" if word.lower() in NONE_WORDS else f"{name}={word}" for word in written]
        if not any(limits) and name not in Budget.__slots__:
            raise UnknownName.among("budget", name, Budget.__slots__)
        for limit in filter(None, limits):
            Budget.parse(limit)
        axes.append(Axis(name, tuple(zip(written, limits, strict=True))))
    return axes


def _split(option: str, words: Sequence[str], example: str) -> list[tuple[str, str]]:
    found: dict[str, str] = {}
    for word in words:
        name, equals, text = word.partition("=")
        name = name.strip()
        if not equals or not name or not text.strip(" ,;"):
            raise InputError(f"{option} {word!r} is not of the form key=value,value", fix=f"write {option} {example}")
        if name in found:
            raise InputError(f"{option} gives {name!r} twice", fix="put all of its values into one")
        found[name] = text
    return list(found.items())


def _words(option: str, text: str, between: str) -> list[str]:
    words = [word.strip() for word in text.split(between)]
    if words[-1] == "":  # a last comma, or the semicolon that says: one list
        words.pop()
    twice = next((word for word in words if words.count(word) > 1), None)
    if twice is not None:
        raise InputError(f"{option} has {twice!r} twice", fix="name every value once")
    return words


def _is_list(kind: Any) -> bool:
    """Whether a value of this type is a list, in at least one way."""
    arms = get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    return any(get_origin(arm) in (tuple, list, Sequence) for arm in arms)
